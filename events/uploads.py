"""Facts about objects in the users' buckets."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import quote

from events import types
from events.event import Event
from events.fields import BucketName, ETag, ObjectKey, Reason, ReasonCode, Text


class UploadRefused(Event):
    """An object cannot be published as it is: `code` for programs, `reason` and the next step `hint` for the user."""

    TYPE: ClassVar[str] = types.UPLOAD_REFUSED

    bucket: BucketName
    key: ObjectKey
    etag: ETag
    code: ReasonCode
    reason: Reason
    hint: Text = ""

    @property
    def id(self) -> str:
        """``<fqrn>/refused/<bucket>/<key>/<etag>``, the key percent-encoded."""
        return f"{self.repository}/refused/{self.bucket}/{quote(self.key)}/{self.etag}"
