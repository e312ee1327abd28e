"""A running service, as the command line finds it: where wishes go, and where it shows what became of them."""

from __future__ import annotations

import getpass
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import typer

from functions.errors import Permanent, Retryable
from gateway.cli.output import say, write_json, write_line
from gateway.cli.service import SOURCE, NoService, setting_of, stack_file, stack_settings

if TYPE_CHECKING:
    from cloudevents.http import CloudEvent

    from events import Wish
    from functions.ports import BlobStore
    from functions.settings import Settings

W = TypeVar("W", bound="Wish")

POLL_S = 0.25


class NotDoneYet(Retryable):
    """A wish was accepted, and not carried out in time."""

    code = "not-done-yet"
    hint = "It is kept and will be done; `cvmfs-cloud status` shows problems."


class WishRefused(Permanent):
    """A wish was refused; its problem says why and what to do."""

    code = "wish-refused"


@dataclass(frozen=True, slots=True)
class Service:
    """How wishes are sent, and the service's settings if they are at hand."""

    send: Callable[[Sequence[CloudEvent]], None]
    settings: Settings | None

    @classmethod
    def find(cls, gateway: str | None, folder: Path) -> Service:
        """Find the gateway that was named, the local stack in `folder`, or the broker of the environment.

        Raises NoService.
        """
        from functions import wiring  # noqa: PLC0415

        url = gateway or stack_file(folder).get("gateway_url")
        settings = settings_of((stack_settings(folder) if gateway is None else None) or os.environ)
        if isinstance(url, str):
            return cls(wiring.open_gateway(url), settings)
        amqp_url = os.environ.get("AMQP_URL")
        if amqp_url is None:
            raise NoService(folder, "name --gateway; AMQP_URL in the environment does as well")
        bus = wiring.open_bus(amqp_url, exchange=setting_of(os.environ, "event_exchange"))
        return cls(lambda events: bus.publish(_admitted(events)), settings)

    def state(self, why: str) -> BlobStore:
        """The service's records; raises a usage error where they are out of reach."""
        from functions import wiring  # noqa: PLC0415

        return wiring.build_state(self.require_settings(why))

    def require_settings(self, why: str) -> Settings:
        """The service's settings; raises a usage error where they are out of reach."""
        if self.settings is None:
            raise typer.BadParameter(
                "needs the local stack, or the service's settings in the environment", param_hint=why
            )
        return self.settings


def wished(kind: type[W], **fields: Any) -> W:
    """A new wish of the person at this terminal; raises BadParameter for what no wish can hold."""
    from events import EventError  # noqa: PLC0415

    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = ""
    try:
        return kind(request=str(uuid4()), requested_by=name, **fields)
    except EventError as err:
        raise typer.BadParameter(str(err)) from err


def ask(service: Service, wishes: Sequence[Wish], done: str, *, wait: bool, timeout: float, as_json: bool) -> None:
    """Send wishes and say so, or with `wait` say `done` when the service has noted all of them.

    Raises RepositoryUnknown where that can be found out, WishRefused, NotDoneYet, and what sending raises.
    """
    from functions import wiring  # noqa: PLC0415

    state = service.state("--wait") if wait else None
    require_known(service.settings, wishes[0].repository)
    now = wiring.utc_now()
    service.send([wish.to_cloudevent(source=SOURCE, time=now) for wish in wishes])
    give_up_at = time.monotonic() + timeout
    if state is not None:
        for wish in wishes:
            _wait(wish, state, timeout, give_up_at)
    if as_json:
        status = "accepted" if state is None else "done"
        write_json([{"id": wish.id, "type": wish.TYPE, "status": status} for wish in wishes])
    elif state is not None:
        write_line(done)
    else:
        for wish in wishes:
            write_line(f"Asked for: {wish.id}")
        say("It is accepted, and kept until it is done; --wait waits for that.")


def require_known(settings: Settings | None, fqrn: str) -> None:
    """Refuse a name that the service does not know, before anything is asked of it; raises RepositoryUnknown.

    Who cannot read its records now asks all the same: what is asked for is kept.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.records import load_record  # noqa: PLC0415

    if settings is not None:
        with suppress(Retryable):
            load_record(wiring.build_state(settings), fqrn)


def _wait(wish: Wish, state: BlobStore, timeout: float, give_up_at: float) -> None:
    from events import TYPE_PREFIX  # noqa: PLC0415
    from functions.publishing.records import Problem, load_record, problem_path  # noqa: PLC0415

    refusal = problem_path(wish.repository, wish.TYPE.removeprefix(TYPE_PREFIX))
    while wish.id not in load_record(state, wish.repository).handled:
        blob = state.get(refusal)
        problem = None if blob is None else Problem.from_bytes(blob.body)
        if problem is not None and problem.etag == wish.request:
            raise WishRefused(f"{problem.reason} {problem.hint}")
        if time.monotonic() >= give_up_at:
            raise NotDoneYet(f"{wish.id} is not done after {timeout:g} s.")
        time.sleep(POLL_S)


def settings_of(mapping: Mapping[str, str]) -> Settings | None:
    """The service's settings, if they are all there."""
    from functions.settings import Settings, SettingsError  # noqa: PLC0415

    try:
        return Settings.from_mapping(mapping)
    except SettingsError:
        return None


def _admitted(events: Sequence[CloudEvent]) -> list[CloudEvent]:
    """What the gateway would let in, checked as it does."""
    from functions import wiring  # noqa: PLC0415
    from gateway.decoding import ReceivedEvent  # noqa: PLC0415
    from gateway.intake import admit  # noqa: PLC0415

    return admit([ReceivedEvent(event.get_attributes(), event.get_data()) for event in events], wiring.utc_now())
