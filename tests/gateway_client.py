"""The gateway over the bus in memory, and requests to it as senders and event sources make them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from uuid import uuid4

from httpx import ASGITransport, AsyncClient, Response

from events import Event, RepositoryRequested
from events.event import STRUCTURED
from events.types import RAW_MESSAGE
from functions.adapters.memory import MemoryBlobStore
from functions.adapters.memory_bus import BINDINGS, MemoryEventBus, Message
from functions.adapters.memory_queues import MemoryQueueAdmin
from functions.cvmfs.catalog_cache import CatalogCache
from functions.publishing.overview import Repositories
from functions.settings import Settings
from gateway.app import build_app
from gateway.decoding import BATCH
from tests.world import World

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REQUEST = {"repository": "alice.infn.it", "username": "alice", "subject": "8f3c-2c1e"}

SETTINGS = Settings.from_mapping(
    {
        "S3_ENDPOINT": "http://s3.example.org",
        "S3_ACCESS_KEY": "access",
        "S3_SECRET_KEY": "very-secret",
        "REPOSITORY_URL": "https://s3.example.org/cvmfs/",
        "AMQP_URL": "amqp://user:very-secret@rabbit.example.org",
    }
)


def envelope(data: object = REQUEST, **attributes: object) -> dict[str, object]:
    """A request for a repository in the JSON format; an attribute given as None is left out."""
    event = {
        "specversion": "1.0",
        "id": "77",
        "source": "https://dashboard.example.org/",
        "type": RepositoryRequested.TYPE,
        **attributes,
        "data": data,
    }
    return {name: value for name, value in event.items() if value is not None}


class Gateway:
    """A gateway, the bus behind it, and its front door."""

    def __init__(self, world: World | None = None) -> None:
        """Over an empty service, or over that of a world, at its time."""
        self.bus = (
            MemoryEventBus({**BINDINGS, "fn.legacy-requests": (), "my_reply": ()}, clock=lambda: NOW)
            if world is None
            else world.bus
        )
        repositories = Repositories(
            state=MemoryBlobStore() if world is None else world.state,
            store_of=(lambda _: MemoryBlobStore()) if world is None else world.store_of,
            queues=MemoryQueueAdmin(self.bus),
            executor=ThreadPoolExecutor(4),
            catalogs=CatalogCache(),
        )
        settings = SETTINGS if world is None else world.settings
        app = build_app(self.bus, repositories, settings, clock=lambda: NOW if world is None else world.clock.now)
        self._transport = ASGITransport(app, raise_app_exceptions=False)

    def get(self, path: str) -> Response:
        """GET something."""
        return self.request("GET", path)

    def request(self, method: str, path: str, **arguments: object) -> Response:
        """Any request, in an event loop of its own."""

        async def send() -> Response:
            async with self.client() as client:
                return await client.request(method, path, **arguments)

        return asyncio.run(send())

    def client(self) -> AsyncClient:
        """A client for several requests at a time, in the event loop of a test."""
        return AsyncClient(transport=self._transport, base_url="http://gateway")

    def structured(self, event: object) -> Response:
        """POST one event in structured mode."""
        return self.raw(json.dumps(event).encode(), {"content-type": STRUCTURED})

    def batch(self, events: object) -> Response:
        """POST a batch."""
        return self.raw(json.dumps(events).encode(), {"content-type": f"{BATCH}; charset=utf-8"})

    def binary(self, data: bytes, **attributes: str) -> Response:
        """POST one event in binary mode."""
        headers = {f"ce-{name}": value for name, value in attributes.items()}
        return self.raw(data, {"content-type": "application/json", **headers})

    def raw(self, body: bytes, headers: Mapping[str, str]) -> Response:
        """POST anything to /events."""
        return self.request("POST", "/events", content=body, headers=dict(headers))

    def legacy_request(self, message: bytes, type_name: str = RAW_MESSAGE) -> Response:
        """What RabbitmqSource makes of a plain message on the queue ``cvmfs``."""
        event_id = str(uuid4())
        headers = {
            "ce-specversion": "1.0",
            "ce-type": type_name,
            "ce-source": "/apis/v1/namespaces/cvmfs/rabbitmqsources/legacy-requests#cvmfs",
            "ce-id": event_id,
            "ce-subject": event_id,
            "ce-time": "2026-11-23T11:59:59Z",
        }
        return self.request("POST", "/legacy/requests", content=message, headers=headers)

    def legacy_reply(self, event: Event) -> Response:
        """What RabbitmqSource makes of one of our events: binary mode, extensions as headers."""
        sent = event.to_cloudevent(source="/cvmfs-cloud/test", time=NOW)
        headers = {f"ce-{name}": sent[name] for name in sent if name != "datacontenttype"}
        return self.request(
            "POST",
            "/legacy/replies",
            content=json.dumps(sent.get_data()).encode(),
            headers={**headers, "content-type": "application/json"},
        )

    def parked(self, step: str) -> list[Message]:
        """What is parked for a step."""
        return list(self.bus.parked(step))
