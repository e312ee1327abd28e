"""What an owner or an operator of a repository may ask for, and what timers ask for.

A wish has a name, chosen by its sender: an event that comes twice, however late, is the same wish and is carried out
once. What became of it is told by the events in ``lifecycle.py``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from events import types
from events.errors import EventError
from events.event import Event
from events.fields import Count, Finite, Fqrn, HashText, RequestName, Revision, TagName, Text

CHANGES_LIMIT = 64
"""Settings that one request can change."""


def kind_of(type_name: str) -> str:
    """An event type as part of an id: without the common prefix, with a dash for the dot."""
    return type_name.removeprefix(types.TYPE_PREFIX).replace(".", "-")


class Wish(Event):
    """Somebody wants something done with a repository; `request` names the wish, `requested_by` who has it."""

    request: RequestName
    requested_by: Annotated[Text, Field(max_length=255)] = ""

    @property
    def id(self) -> str:
        """``<fqrn>/<type>/<request>``, the type with a dash: ``tag-requested``."""
        return f"{self.repository}/{kind_of(self.TYPE)}/{self.request}"


class TagAction(StrEnum):
    """What is to happen to a tag."""

    ADD = "add"
    """Put it on a revision; refused if it is on another one."""
    MOVE = "move"
    """Put it on another revision; it must exist."""
    REMOVE = "remove"


class TagRequested(Wish):
    """A tag is to be added, moved or removed; no new revision.

    `revision` or `root_hash` says where it goes; without both it goes on the newest revision. They mean nothing for a
    removal.
    """

    TYPE: ClassVar[str] = types.TAG_REQUESTED

    action: Annotated[TagAction, Field(strict=False)]
    name: TagName
    description: Annotated[Text, Field(max_length=1024)] = ""
    revision: Revision | None = None
    root_hash: HashText | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.revision is not None and self.root_hash is not None:
            raise EventError(["data.root_hash: is given beside revision, but a tag goes to one of them"])
        return self


class RollbackRequested(Wish):
    """The content of a tag, or of the revision before (None), is to be the newest revision.

    Objects uploaded before that stay out until they are uploaded anew or the rollback is released.
    """

    TYPE: ClassVar[str] = types.ROLLBACK_REQUESTED

    tag: TagName | None = None


class ReleaseRequested(Wish):
    """A rollback is to hold back nothing any more: the repository follows its bucket again."""

    TYPE: ClassVar[str] = types.RELEASE_REQUESTED


class SuspensionRequested(Wish):
    """The repository is to rest: served as it is, fed by nothing; `reason` is shown to its users."""

    TYPE: ClassVar[str] = types.SUSPENSION_REQUESTED

    reason: Annotated[Text, Field(max_length=1024)] = ""


class ResumptionRequested(Wish):
    """The repository is to follow its bucket again, also in what changed there while it rested."""

    TYPE: ClassVar[str] = types.RESUMPTION_REQUESTED


class SettingsRequested(Wish):
    """Settings of the repository are to change: names and new values, null for the service's own."""

    TYPE: ClassVar[str] = types.SETTINGS_REQUESTED

    changes: Annotated[dict[str, bool | int | Finite | str | None], Field(min_length=1, max_length=CHANGES_LIMIT)]


class Keys(StrEnum):
    """What becomes of the keys of a repository that is deleted."""

    KEEP = "keep"
    """A repository made again under the name has the same keys, so clients need no other configuration."""
    DESTROY = "destroy"
    """Nobody can sign for it any more, and a repository made again has other keys."""


class DeletionRequested(Wish):
    """The repository is to go, its content and all revisions; the user's bucket stays as it is.

    `confirm` repeats the repository's name, so that no slip of a finger is a deletion.
    """

    TYPE: ClassVar[str] = types.DELETION_REQUESTED

    confirm: Fqrn
    keys: Annotated[Keys, Field(strict=False)] = Keys.KEEP
    deleted: Count = 0
    """Files that are gone already, where a deletion goes on."""

    @model_validator(mode="after")
    def _confirmed(self) -> Self:
        if self.confirm != self.repository:
            raise EventError([f"data.confirm: is {self.confirm!r}, expected the name of the repository again"])
        return self


class RenewalRequested(Wish):
    """The whitelist is to be signed again; with `if_due`, as timers ask, only if it ends soon."""

    TYPE: ClassVar[str] = types.RENEWAL_REQUESTED

    if_due: bool = False


class CollectionRequested(Wish):
    """Garbage is to be collected; with `if_possible`, as timers ask, what stands in the way is no error."""

    TYPE: ClassVar[str] = types.COLLECTION_REQUESTED

    if_possible: bool = False
