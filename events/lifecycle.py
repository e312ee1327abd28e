"""What became of the wishes in ``requests.py``: facts about repositories, their tags, whitelists and garbage."""

from __future__ import annotations

from typing import Annotated, ClassVar
from urllib.parse import quote

from pydantic import Field

from events import types
from events.event import Event
from events.fields import Count, Finite, HashText, Reason, ReasonCode, RequestName, Revision, TagName, Text, UnixTime
from events.requests import CHANGES_LIMIT, Keys, TagAction, kind_of


class _Fulfilled(Event):
    """A wish was carried out: the one of this name."""

    request: RequestName

    @property
    def id(self) -> str:
        """``<fqrn>/<type>/<request>``, the type with a dash: ``tag-changed``."""
        return f"{self.repository}/{kind_of(self.TYPE)}/{self.request}"


class TagChanged(_Fulfilled):
    """A tag is where it was wanted: on `revision` with `root_hash`, or removed (both None)."""

    TYPE: ClassVar[str] = types.TAG_CHANGED

    action: Annotated[TagAction, Field(strict=False)]
    name: TagName
    revision: Revision | None = None
    root_hash: HashText | None = None


class RepositoryRolledBack(_Fulfilled):
    """The content of revision `target` is the newest one, `revision`; what was uploaded before `held_before` stays out.

    `removed_tags` were on revisions in between.
    """

    TYPE: ClassVar[str] = types.REPOSITORY_ROLLED_BACK

    revision: Revision
    root_hash: HashText
    target: Revision
    tag: TagName | None = None
    held_before: UnixTime
    removed_tags: Annotated[tuple[Text, ...], Field(strict=False)] = ()


class RollbackReleased(_Fulfilled):
    """Nothing is held back any more since `revision`; what the bucket has more or less follows in later revisions."""

    TYPE: ClassVar[str] = types.ROLLBACK_RELEASED

    revision: Revision
    root_hash: HashText


class RepositorySuspended(_Fulfilled):
    """The repository rests."""

    TYPE: ClassVar[str] = types.REPOSITORY_SUSPENDED

    reason: Text = ""


class RepositoryResumed(_Fulfilled):
    """The repository follows its bucket again."""

    TYPE: ClassVar[str] = types.REPOSITORY_RESUMED


class SettingsChanged(_Fulfilled):
    """Settings of the repository have these values now."""

    TYPE: ClassVar[str] = types.REPOSITORY_SETTINGS_CHANGED

    changes: Annotated[dict[str, bool | int | Finite | str | None], Field(max_length=CHANGES_LIMIT)]


class RepositoryDeleted(_Fulfilled):
    """Nothing is stored of the repository any more; one made again under the name begins above `last_revision`."""

    TYPE: ClassVar[str] = types.REPOSITORY_DELETED

    last_revision: Revision
    objects: Count
    keys: Annotated[Keys, Field(strict=False)]


class WhitelistResigned(Event):
    """The whitelist was signed again: clients accept it until `expires_at`."""

    TYPE: ClassVar[str] = types.WHITELIST_RESIGNED

    expires_at: UnixTime

    @property
    def id(self) -> str:
        """``<fqrn>/whitelist-resigned/<expires_at>``."""
        return f"{self.repository}/whitelist-resigned/{self.expires_at}"


class GarbageCollected(Event):
    """A collection deleted `objects` of `bytes` stored bytes; `kept_roots` root catalogs stay.

    Without `complete` its time was over; it goes on, and tells again.
    """

    TYPE: ClassVar[str] = types.GARBAGE_COLLECTED

    collected_at: UnixTime
    objects: Count
    bytes: Count
    kept_roots: Count
    condemned_roots: Count
    complete: bool

    @property
    def id(self) -> str:
        """``<fqrn>/collected/<collected_at>``."""
        return f"{self.repository}/collected/{self.collected_at}"


class RequestRefused(Event):
    """A wish cannot be granted: `request` is its event's id, `wanted` its type without the common prefix."""

    TYPE: ClassVar[str] = types.REQUEST_REFUSED

    request: Annotated[str, Field(min_length=1, max_length=1024)]
    wanted: Annotated[str, Field(min_length=1, max_length=255)]
    code: ReasonCode
    reason: Reason
    hint: Text = ""

    @property
    def id(self) -> str:
        """``<fqrn>/refused/<request>``, the request percent-encoded."""
        return f"{self.repository}/refused/{quote(self.request, safe='')}"
