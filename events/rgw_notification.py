"""Bucket notifications as RadosGW sends them: JSON with a list of records, each a hint to look at one object.

Source: ``rgw_pubsub.h: rgw_pubsub_s3_event`` of Ceph 16, and messages caught from a running one.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, AliasPath, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic import ValidationError as _ValidationError

from events.errors import EventError

_LOOK = ":Reconcile"
_METADATA_PREFIX = "x-amz-meta-"


def _without_prefix(name: str) -> str:
    return name.removeprefix("s3:")


def _user_metadata(value: object) -> object:
    """Turn RadosGW's list of pairs into a dict of the user's own metadata, named as in a HEAD, without the prefix.

    Where an upload has none, RadosGW lists request headers in their place; those are dropped.
    """
    if not isinstance(value, list):
        raise ValueError("expected a list of objects with key and val")  # noqa: TRY004 - pydantic's way to say so
    metadata = {}
    for pair in value:
        if not isinstance(pair, Mapping) or not isinstance(pair.get("key"), str):
            raise ValueError("expected a list of objects with key and val")  # noqa: TRY004
        name = pair["key"].lower()
        if name.startswith(_METADATA_PREFIX):
            metadata[name.removeprefix(_METADATA_PREFIX)] = pair.get("val")
    return metadata


def _sequencer(value: object) -> object:
    """Decode ``61B2036B1827DC11``: little-endian seconds, then little-endian nanoseconds, four bytes each."""
    try:
        seconds, nanoseconds = struct.unpack("<II", bytes.fromhex(value))  # type: ignore[arg-type]
    except (struct.error, TypeError, ValueError) as err:
        raise ValueError("expected 16 hex digits") from err
    return seconds, nanoseconds


class Record(BaseModel):
    """What happened to one object: `size` in bytes of content, `etag` unquoted.

    A removal has the size and etag of what was removed, or 0 and ``""`` where there was nothing. `version_id` is empty
    without versioning. `sequencer` is (seconds, nanoseconds) and orders the records of one key. A notification that is
    sent again has the same `event_id` and `request_id`.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore", strict=True)

    event_name: Annotated[str, AfterValidator(_without_prefix), Field(validation_alias="eventName", min_length=1)]
    event_time: Annotated[AwareDatetime, Field(validation_alias="eventTime", strict=False)]
    event_id: Annotated[str, Field(validation_alias="eventId")] = ""
    request_id: Annotated[str, Field(validation_alias=AliasPath("responseElements", "x-amz-request-id"))] = ""
    bucket: Annotated[str, Field(validation_alias=AliasPath("s3", "bucket", "name"), min_length=1)]
    bucket_owner: Annotated[str, Field(validation_alias=AliasPath("s3", "bucket", "ownerIdentity", "principalId"))] = ""
    key: Annotated[str, Field(validation_alias=AliasPath("s3", "object", "key"), min_length=1)]
    size: Annotated[int, Field(validation_alias=AliasPath("s3", "object", "size"), ge=0)] = 0
    etag: Annotated[str, Field(validation_alias=AliasPath("s3", "object", "eTag"))] = ""
    version_id: Annotated[str, Field(validation_alias=AliasPath("s3", "object", "versionId"))] = ""
    sequencer: Annotated[
        tuple[int, int],
        BeforeValidator(_sequencer),
        Field(validation_alias=AliasPath("s3", "object", "sequencer")),
    ]
    metadata: Annotated[
        dict[str, str],
        BeforeValidator(_user_metadata),
        Field(validation_alias=AliasPath("s3", "object", "metadata"), default_factory=dict),
    ]

    @property
    def removed(self) -> bool:
        """Whether the object, or a version of it, was removed."""
        return self.event_name.startswith("ObjectRemoved:")

    @property
    def is_look(self) -> bool:
        """Whether nothing happened, and the service only asked itself for a look (``notification_about``)."""
        return self.event_name.endswith(_LOOK)


def parse_notification(body: object) -> list[Record | EventError]:
    """The records of a notification in order; in the place of a malformed one stands what is wrong with it.

    Takes the message as bytes, text or decoded JSON. Raises EventError when it is not a notification at all. Bytes that
    are not UTF-8 become U+FFFD: RadosGW copies metadata headers as they came, and takes only keys that are UTF-8.
    """
    message = _decoded(body)
    records = message.get("Records") if isinstance(message, Mapping) else None
    if not isinstance(records, list):
        raise EventError(["Records: is missing or not a list; this is not a bucket notification"])
    return [_record(index, record) for index, record in enumerate(records)]


def notification_about(bucket: str, looks: Iterable[tuple[str, str, int]], now: datetime) -> bytes:
    """A notification that asks for another look at some objects, each (key, etag, size); an empty etag is a removal.

    RadosGW has not sent it: its event names end in ``:Reconcile``, its time is `now` (aware).
    """
    moment = now.astimezone(UTC)
    sequencer = struct.pack("<II", int(moment.timestamp()), moment.microsecond * 1000).hex().upper()
    records = [
        {
            "eventVersion": "2.2",
            "eventSource": "cvmfs-cloud",
            "eventName": f"{'ObjectCreated' if etag else 'ObjectRemoved'}{_LOOK}",
            "eventTime": moment.isoformat().replace("+00:00", "Z"),
            "s3": {
                "bucket": {"name": bucket},
                "object": {"key": key, "size": size, "eTag": etag, "sequencer": sequencer, "metadata": []},
            },
        }
        for key, etag, size in looks
    ]
    return json.dumps({"Records": records}, ensure_ascii=False, separators=(",", ":")).encode()


def _decoded(body: object) -> object:
    if isinstance(body, bytes):
        body = body.decode("utf-8", "replace")
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as err:
        raise EventError(["body: is not JSON"]) from err


def _record(index: int, record: object) -> Record | EventError:
    try:
        return Record.model_validate(record)
    except _ValidationError as err:
        return EventError(
            f"{'.'.join((f'Records[{index}]', *map(str, fault['loc'])))}: {fault['msg']}"
            for fault in err.errors(include_url=False)
        )
