"""The small JSON files of the state bucket: repository records and problems shown to the user.

``repositories/<fqrn>.json`` says whose a repository is and how it is to be treated; ``problems/<fqrn>/<hash of the
key>.json`` says what is wrong with one object; ``sync-settings/<fqrn>.json`` keeps the rules of its bucket. Records
change by compare-and-swap, the others are written whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from functions.errors import (
    CloudError,
    RepositoryDamaged,
    RepositoryUnknown,
    SettingsRefused,
    UploadRefused,
    VersionMoved,
)
from functions.ports import BlobStore


class _State(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def from_bytes(cls, body: bytes) -> Self:
        """Read a file's bytes; raises RepositoryDamaged."""
        try:
            return cls.model_validate_json(body)
        except ValidationError as err:
            raise RepositoryDamaged(
                f"{cls.__name__} in the state bucket is malformed: {err.error_count()} faults"
            ) from err


StateFile = _State
"""What every file of the state bucket can do: become bytes, and be read back."""


class Standing(StrEnum):
    """What a repository may do: follow its bucket, rest, or go."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Served as it is; nothing is taken in or published until it is resumed, and then the whole bucket is looked at."""
    DELETING = "deleting"
    """On its way out: nothing is taken in, and what is stored of it is being removed."""
    DELETED = "deleted"
    """Gone. The record stays: it keeps the name for its owner, and the number of the last revision."""


Limit = Annotated[int, Field(ge=0)] | None
"""An upper limit; None is none."""


SECONDS_LIMIT = 100 * 366 * 24 * 3600
"""A hundred years: longer, and there is a length for which no calendar has a moment."""


class RepositorySettings(_State):
    """What an operator or owner may choose for one repository; sizes in bytes, times in seconds."""

    unpack_archives: bool = True
    files_limit: Limit = None
    """Files, links and directories that the repository may hold."""
    bytes_limit: Limit = None
    """Content of all files together."""
    file_bytes_limit: Limit = None
    """Content of one file."""
    archive_members_limit: Limit = None
    archive_bytes_limit: Limit = None
    """Content that one archive unpacks to."""
    archive_ratio_limit: Limit = None
    """How many times its own size an archive may unpack to."""
    min_publish_interval_s: Annotated[float, Field(ge=0, le=SECONDS_LIMIT, allow_inf_nan=False)] | None = None
    """Seconds between revisions under sustained load; None is the service's own."""
    keep_revisions_s: Annotated[int, Field(ge=0, le=SECONDS_LIMIT)] | None = None
    """How long a revision that nobody tagged is kept from garbage collection; None is the service's own."""


HANDLED_KEPT = 64
"""Wishes whose ids a record remembers; more cannot be under way for one repository at a time."""


class RepositoryRecord(_State):
    """Whose repository it is, which bucket feeds it, and how it is to be treated.

    Bucket and owner never change; standing and settings do. `handled` has the ids of the wishes that were carried out
    last, so that one that comes again changes nothing.
    """

    repository: str
    bucket: str
    username: str
    subject: str
    group: str | None = None
    created_at: datetime
    standing: Standing = Standing.ACTIVE
    settings: RepositorySettings = RepositorySettings()
    suspended_for: str = ""
    """Why it rests, for its users to read."""
    handled: tuple[str, ...] = ()
    last_revision: Annotated[int, Field(ge=0)] = 0
    """The number that was live when it was deleted; one made again under the name goes on above it."""
    deleted_at: datetime | None = None
    """When the last deletion was asked for; it stays when the repository is made again."""

    @property
    def path(self) -> str:
        """Where the record is kept in the state bucket."""
        return record_path(self.repository)

    @property
    def exists(self) -> bool:
        """Whether there is a repository, active or resting: not one that is deleted, or on its way out."""
        return self.standing in {Standing.ACTIVE, Standing.SUSPENDED}

    def noting(self, wish: str, **changes: object) -> Self:
        """The record with some changes, and a wish among those that were carried out."""
        handled = (*(other for other in self.handled if other != wish), wish)[-HANDLED_KEPT:]
        return self.model_copy(update={**changes, "handled": handled})


class Problem(_State):
    """Something wrong with one object of a bucket, for the user to read: what, why, and the next step.

    Also with the repository itself: then `key` is no object's, since it is outside of ``cvmfs/``, but the name of a
    file (``.cvmfswhitelist``) or the type of a wish (``tag.requested``) whose name is the `etag`. `etag` and `modified`
    (LastModified, s) say which version of the object it is about; 0 if nobody knows.
    """

    repository: str
    bucket: str
    key: str
    etag: str = ""
    modified: int = 0
    code: str
    reason: str
    hint: str = ""
    seen_at: datetime

    @property
    def path(self) -> str:
        """Where the problem is kept in the state bucket."""
        return problem_path(self.repository, self.key)

    @classmethod
    def of_repository(
        cls, error: CloudError, record: RepositoryRecord, *, about: str, wish: str = "", now: datetime
    ) -> Self:
        """The problem that an error is for the whole repository; `about` names what it is about."""
        return cls(
            repository=record.repository,
            bucket=record.bucket,
            key=about,
            etag=wish,
            code=error.code,
            reason=str(error),
            hint=error.hint,
            seen_at=now,
        )

    @classmethod
    def of(
        cls,
        error: UploadRefused,
        *,
        repository: str,
        bucket: str,
        key: str,
        etag: str,
        modified: int = 0,
        now: datetime,
    ) -> Self:
        """The problem that a refusal stands for."""
        return cls(
            repository=repository,
            bucket=bucket,
            key=key,
            etag=etag,
            modified=modified,
            code=error.reason_code,
            reason=str(error),
            hint=error.next_step,
            seen_at=now,
        )


class KeptSettings(_State):
    """The last ``.cvmfs-sync.toml`` of a bucket that had no mistakes, and which version of the object that was."""

    repository: str
    version: str
    content: str

    @property
    def path(self) -> str:
        """Where they are kept in the state bucket."""
        return kept_settings_path(self.repository)


def kept_settings_path(repository: str) -> str:
    """The path of the last settings without mistakes."""
    return f"sync-settings/{repository}.json"


def record_path(repository: str) -> str:
    """The path of a repository's record."""
    return f"repositories/{repository}.json"


def problem_path(repository: str, key: str) -> str:
    """The path of the problem of one key; the key itself may hold anything, so its hash names the file."""
    return f"problems/{repository}/{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def load_record(state: BlobStore, repository: str) -> RepositoryRecord:
    """The record of a repository; raises RepositoryUnknown."""
    blob = state.get(record_path(repository))
    if blob is None:
        raise RepositoryUnknown(f"there is no repository {repository}")
    return RepositoryRecord.from_bytes(blob.body)


def repository_names(state: BlobStore, *, after: str = "") -> Iterator[str]:
    """The names of all repositories that are greater than `after`; reads no record.

    They come in the order of the records' paths, which is another where one name begins with a whole other one.
    """
    for info in state.list("repositories/"):
        name = info.path.removeprefix("repositories/").removesuffix(".json")
        if name > after:
            yield name


def keep_record(state: BlobStore, record: RepositoryRecord) -> RepositoryRecord:
    """Write the record if there is none and return the one that counts."""
    try:
        state.create(record.path, record.to_bytes())
    except VersionMoved:
        return load_record(state, record.repository)
    return record


RECORD_ATTEMPTS = 8
"""How often a lost swap of a record is made again."""


def change_record(
    state: BlobStore, repository: str, change: Callable[[RepositoryRecord], RepositoryRecord]
) -> RepositoryRecord:
    """Replace the record by what `change` makes of it and return the new one; nothing is written if it is the same.

    Raises RepositoryUnknown, and VersionMoved when the swap was lost RECORD_ATTEMPTS times.
    """
    for _ in range(RECORD_ATTEMPTS):
        blob = state.get(record_path(repository))
        if blob is None:
            raise RepositoryUnknown(f"there is no repository {repository}")
        before = RepositoryRecord.from_bytes(blob.body)
        after = change(before)
        if after == before:
            return before
        try:
            state.replace(after.path, after.to_bytes(), blob.version)
        except VersionMoved:
            continue
        return after
    raise VersionMoved(f"the record of {repository} was changed {RECORD_ATTEMPTS} times by others")


def changed_settings(settings: RepositorySettings, changes: Mapping[str, object]) -> RepositorySettings:
    """Settings with some of them changed; raises SettingsRefused that names every fault."""
    unknown = sorted(changes.keys() - RepositorySettings.model_fields.keys())
    if unknown:
        known = ", ".join(RepositorySettings.model_fields)
        raise SettingsRefused(f"There is no setting {', '.join(unknown)}; there are {known}.")
    try:
        return RepositorySettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as err:
        faults = [f"{fault['loc'][0]}: {fault['msg']}" for fault in err.errors()]
        raise SettingsRefused(f"{'; '.join(faults)}.") from err


def open_problems(state: BlobStore, repository: str) -> Iterator[Problem]:
    """All problems of a repository."""
    for info in state.list(f"problems/{repository}/"):
        blob = state.get(info.path)
        if blob is not None:
            yield Problem.from_bytes(blob.body)


def problem_count(state: BlobStore, repository: str) -> int:
    """How many problems a repository has; one listing, and none of them is read."""
    return sum(1 for _ in state.list(f"problems/{repository}/"))


def drop_notes(state: BlobStore, repository: str) -> None:
    """Remove what was noted of a deleted repository and its bucket: problems, and the settings it followed."""
    for info in list(state.list(f"problems/{repository}/")):
        state.delete(info.path)
    state.delete(kept_settings_path(repository))


def problem_of(state: BlobStore, repository: str, key: str) -> Problem | None:
    """The open problem of one key."""
    blob = state.get(problem_path(repository, key))
    return None if blob is None else Problem.from_bytes(blob.body)


def clear_problems(state: BlobStore, repository: str, keys: frozenset[str]) -> int:
    """Remove the problems of these keys and return how many there were; one listing, whatever the number of keys."""
    paths = {problem_path(repository, key) for key in keys}
    solved = [info.path for info in state.list(f"problems/{repository}/") if info.path in paths]
    for path in solved:
        state.delete(path)
    return len(solved)
