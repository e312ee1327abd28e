"""Facts about repositories, from the wish for one to its newest revision."""

from __future__ import annotations

from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import Field

from events import types
from events.event import Event
from events.fields import (
    BucketName,
    CertificatePem,
    Count,
    GroupName,
    HashText,
    Issuer,
    PublicKeyPem,
    Reason,
    ReasonCode,
    ReplyQueue,
    Revision,
    Subject,
    Text,
    UnixTime,
    Url,
    UserName,
)

PATHS_LIMIT = 100
"""Paths that one ``repository.published`` can name; `changes` counts all of them."""


class _Requested(Event):
    """Who wants which repository: `subject` is the user's OpenID Connect ``sub``, `group` None for a personal one."""

    username: UserName
    subject: Subject
    group: GroupName | None = None
    issuer: Issuer = ""
    reply_queue: ReplyQueue | None = None


class RepositoryRequested(_Requested):
    """Somebody asks for a repository."""

    TYPE: ClassVar[str] = types.REPOSITORY_REQUESTED

    @property
    def id(self) -> str:
        """``<fqrn>/requested/<subject>``."""
        return f"{self.repository}/requested/{self.subject}"


class RepositoryKeysStored(_Requested):
    """The keys of a requested repository are in the vault; only their public halves travel."""

    TYPE: ClassVar[str] = types.REPOSITORY_KEYS_STORED

    public_key: PublicKeyPem
    certificate: CertificatePem

    @property
    def id(self) -> str:
        """``<fqrn>/keys-stored``."""
        return f"{self.repository}/keys-stored"


class RepositoryCreated(Event):
    """The repository can be mounted: its first revision is signed and served below `url`."""

    TYPE: ClassVar[str] = types.REPOSITORY_CREATED

    username: UserName
    subject: Subject
    group: GroupName | None = None
    bucket: BucketName
    url: Url
    revision: Revision
    root_hash: HashText
    public_key: PublicKeyPem
    reply_queue: ReplyQueue | None = None

    @property
    def id(self) -> str:
        """``<fqrn>/created``."""
        return f"{self.repository}/created"


class RepositoryRefused(Event):
    """A request cannot be granted: `code` for programs, `reason` and the next step `hint` for the user."""

    TYPE: ClassVar[str] = types.REPOSITORY_REFUSED

    username: UserName
    subject: Subject
    code: ReasonCode
    reason: Reason
    hint: Text = ""
    reply_queue: ReplyQueue | None = None

    @property
    def id(self) -> str:
        """``<fqrn>/refused/<subject>``."""
        return f"{self.repository}/refused/{self.subject}"


class RepositoryChanged(Event):
    """Changes wait in the repository's queue: a wake-up, which says nothing about them.

    `cause` is what the sender saw: the id of the event that it handled, or the etag of the object.
    """

    TYPE: ClassVar[str] = types.REPOSITORY_CHANGED

    cause: Annotated[Text, Field(min_length=1, max_length=2048)]

    @property
    def id(self) -> str:
        """``<fqrn>/changed/<cause>``, the cause percent-encoded."""
        return f"{self.repository}/changed/{quote(self.cause)}"


class RepositoryPublished(Event):
    """A revision is signed and visible; `paths` are some of the `changes` paths that it touched, for people to read."""

    TYPE: ClassVar[str] = types.REPOSITORY_PUBLISHED

    revision: Revision
    root_hash: HashText
    published_at: UnixTime
    changes: Count
    paths: Annotated[tuple[Text, ...], Field(max_length=PATHS_LIMIT, strict=False)] = ()
    url: Url

    @property
    def id(self) -> str:
        """``<fqrn>@<revision>``."""
        return f"{self.repository}@{self.revision}"
