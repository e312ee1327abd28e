"""Facts about a bucket held against its repository: the wish that it be done, and what was found."""

from __future__ import annotations

from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import Field

from events import types
from events.event import Event
from events.fields import Count, Text

Cause = Annotated[Text, Field(min_length=1, max_length=2048)]
"""Why: one word for a person, or the id of an event; events of the same cause are the same wish."""

KeyPart = Annotated[Text, Field(max_length=1024)]
"""A part of an object key, also an empty one."""


class ReconciliationRequested(Event):
    """Somebody wants a repository to be held against its bucket; doing it twice is harmless.

    `prefix` narrows it to the keys that begin with ``cvmfs/<prefix>``. `start_after` is a whole key: what comes before
    it was looked at already. With `allow_empty` also a bucket that is empty or gone is believed. With `again` also
    objects that were refused as they are now are tried again.
    """

    TYPE: ClassVar[str] = types.RECONCILIATION_REQUESTED

    cause: Cause
    prefix: KeyPart = ""
    start_after: KeyPart = ""
    allow_empty: bool = False
    again: bool = False

    @property
    def id(self) -> str:
        """``<fqrn>/reconciliation-requested/<cause>``, the cause percent-encoded, then where it goes on, if it does."""
        position = f"/{quote(self.start_after)}" if self.start_after else ""
        return f"{self.repository}/reconciliation-requested/{quote(self.cause, safe='')}{position}"


class BucketReconciled(Event):
    """A repository was held against its bucket: `differences` of `objects` and `entries` were sent to be made good.

    `refused` objects differ and stay out, since they have an open problem. `seconds` counts from the request's start.
    """

    TYPE: ClassVar[str] = types.BUCKET_RECONCILED

    cause: Cause
    prefix: KeyPart = ""
    objects: Count
    entries: Count
    differences: Count
    refused: Count = 0
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @property
    def id(self) -> str:
        """``<fqrn>/reconciled/<cause>``, the cause percent-encoded."""
        return f"{self.repository}/reconciled/{quote(self.cause, safe='')}"
