"""What all events have in common: how one becomes a CloudEvent, and how one is read back."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self

from cloudevents.http import CloudEvent
from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator

from events.errors import EventError
from events.fields import Fqrn

STRUCTURED = "application/cloudevents+json"
"""The content type of an event in structured mode: attributes and data in one JSON object."""

_SOURCE = re.compile(r"[!-~]{1,2048}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class Event(BaseModel, ABC):
    """A fact about one repository; fields nobody knows are ignored, so that senders may be newer than receivers.

    Making one from values that break a rule raises EventError, as reading one does.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    TYPE: ClassVar[str]

    repository: Fqrn

    @property
    @abstractmethod
    def id(self) -> str:
        """What happened, in printable ASCII: the same fact has the same id, however often it is told."""

    @model_validator(mode="wrap")
    @classmethod
    def _faults_as_event_error(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as err:
            raise EventError(_data_faults(err)) from err

    def to_cloudevent(self, *, source: str, time: datetime, traceparent: str | None = None) -> CloudEvent:
        """The event to send: `source` says who saw the fact, `time` (aware) when, `traceparent` on whose behalf."""
        if time.tzinfo is None:
            raise EventError(["time: has no time zone"])
        attributes = {
            "specversion": "1.0",
            "type": self.TYPE,
            "source": source,
            "id": self.id,
            "subject": self.repository,
            "time": time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
        }
        if traceparent is not None:
            attributes["traceparent"] = traceparent
        return CloudEvent(attributes, self.model_dump(mode="json"))

    @classmethod
    def from_cloudevent(cls, event: CloudEvent) -> Self:
        """Read an event that was received; raises EventError with every fault of its attributes and data."""
        return cls.from_parts(event.get_attributes(), event.get_data())

    @classmethod
    def from_parts(cls, attributes: Mapping[str, object], data: object) -> Self:
        """Read the attributes and the data of an event, decoded or not; raises EventError with every fault of both."""
        faults = _attribute_faults(attributes, cls.TYPE)
        try:
            fields = data_fields(data)
            faults += _subject_faults(attributes, fields)
            made = cls.model_validate(fields)
        except EventError as err:
            raise EventError([*faults, *err.faults]) from err
        if faults:
            raise EventError(faults)
        return made


def data_fields(data: object) -> Mapping[str, Any]:
    """The data of an event as a JSON object, from that object or its text; raises EventError for anything else."""
    if isinstance(data, (bytes, bytearray, str)):
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as err:
            raise EventError(["data: is not JSON"]) from err
    if not isinstance(data, Mapping):
        raise EventError(["data: is missing or not a JSON object"])
    return data


def traceparent_of(attributes: CloudEvent | Mapping[str, object]) -> str | None:
    """The W3C trace context that an event or its attributes carry; None if there is none or a malformed one."""
    value = attributes.get("traceparent")
    return value if isinstance(value, str) and _TRACEPARENT.fullmatch(value) else None


def time_of(attributes: CloudEvent | Mapping[str, object], default: datetime) -> datetime:
    """The time of an event, aware; `default` if it has none or a malformed one."""
    try:
        moment = datetime.fromisoformat(str(attributes.get("time")))
    except ValueError:
        return default
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _attribute_faults(attributes: Mapping[str, object], expected_type: str) -> list[str]:
    faults = []
    for name, expected in (("specversion", "1.0"), ("type", expected_type)):
        if attributes.get(name) != expected:
            faults.append(f"{name}: is {attributes.get(name)!r}, expected {expected!r}")
    event_id, source = attributes.get("id"), attributes.get("source")
    if not isinstance(event_id, str) or not event_id:
        faults.append("id: is missing or empty")
    if not isinstance(source, str) or _SOURCE.fullmatch(source) is None:
        faults.append("source: is missing or not a URI reference of at most 2048 characters")
    return faults


def _subject_faults(attributes: Mapping[str, object], fields: Mapping[str, Any]) -> list[str]:
    subject = attributes.get("subject")
    if subject is None or subject == fields.get("repository"):
        return []
    return [f"subject: is {subject!r}, expected the value of data.repository or none"]


def _data_faults(err: ValidationError) -> list[str]:
    return [f"{'.'.join(('data', *map(str, fault['loc'])))}: {fault['msg']}" for fault in err.errors(include_url=False)]
