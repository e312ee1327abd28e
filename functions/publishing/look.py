"""One object of a bucket looked at as it is now, under the rules of that bucket: what has to be published of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime

from events.change import ChangeRecord, Withheld
from functions.errors import UploadRefused, VersionMoved
from functions.ports import ObjectInfo, ObjectSource
from functions.publishing.archive_rules import ArchiveLimits
from functions.publishing.attributes import Attributes, read_attributes
from functions.publishing.ingest import Ingest, check_size, removal, withheld
from functions.publishing.keys import Target, TargetKind, other_paths
from functions.publishing.rules import Rules

READ_ATTEMPTS = 3
"""How often an object that is replaced while it is read is looked at again before the event is kept for later."""

DOUBT_S = 2
"""Seconds after LastModified within which an object may get other metadata unnoticed; clocks may differ by one."""


class RefusedAsItIs(UploadRefused):
    """An upload that is refused; `record` takes an older version of it out of the repository, if there may be one."""

    def __init__(self, refused: UploadRefused, record: ChangeRecord | None) -> None:
        super().__init__(str(refused), code=refused.reason_code, hint=refused.next_step)
        self.record = record


@dataclass(frozen=True, slots=True)
class Look:
    """Looking at objects of one bucket; `ingest` makes what takes one in, and `finish` waits until it is stored."""

    bucket: str
    source: ObjectSource
    rules: Rules
    ingest: Ingest
    finish: Callable[[], None]
    archive_turn: AbstractContextManager[object] = field(default_factory=nullcontext)
    """Held while an archive is read, before the store is asked for it: a process unpacks few at a time."""
    _attributes: dict[str, Attributes] = field(default_factory=dict)
    """By key, what the metadata of what was taken in said."""

    def at(self, key: str, *, size_told: int = 0, told_at: int = 0) -> ChangeRecord | None:
        """The change that the object stands for, or None where there is nothing to publish.

        `size_told` is what somebody says of its size: only where that is above a limit the store is asked before
        anything is read. `told_at` is when somebody told of its removal, if anybody did (epoch seconds). Raises
        RefusedAsItIs, and VersionMoved if the object is replaced again and again.
        """
        try:
            target = self.rules.target(key)
        except UploadRefused as err:
            return self._without_target(key, err, told_at)
        if target.kind is TargetKind.ROOT:
            return None
        if self.rules.excludes(key):
            info = self.source.head(self.bucket, key)
            if info is None:
                return removal(self.bucket, key, target, told_at=told_at)
            return withheld(self.bucket, info, target, Withheld.EXCLUDED, self.rules)
        turn = self.archive_turn if target.kind is TargetKind.ARCHIVE else nullcontext()
        for _ in range(READ_ATTEMPTS):
            try:
                with turn:
                    change = self._take(key, target, size_told)
            except VersionMoved:
                continue
            return change or removal(self.bucket, key, target, told_at=told_at)
        raise VersionMoved(f"{key!r} in {self.bucket} was replaced {READ_ATTEMPTS} times while it was read")

    def still_holds(self, change: ChangeRecord, began: datetime) -> bool:
        """Whether a record that was sent is the last word; `began` is when looking began (aware).

        A copy of an object onto itself, with other metadata and within the same second, has the etag and LastModified
        of the one before (so ``chmod`` on s3fs). Of two records of such versions the publisher takes the one that was
        sent last, so whoever sent one asks once more. Every other change shows, and has an event of its own.
        """
        if change.key not in self._attributes or change.modified < int(began.timestamp()) - DOUBT_S:
            return True
        info = self.source.head(self.bucket, change.key)
        return info is None or info.etag != change.etag or _attributes_of(info) == self._attributes[change.key]

    def _take(self, key: str, target: Target, size_told: int) -> ChangeRecord | None:
        """The record of the object; None if there is none."""
        limit = self.rules.settings.file_bytes_limit
        if target.kind is TargetKind.FILE and limit is not None and size_told > limit:
            info = self.source.head(self.bucket, key)
            if info is not None:
                self._check(info, target)
        reader = self.source.open(self.bucket, key)
        if reader is None:
            return None
        try:
            change = self.ingest.take(self.bucket, target, reader)
        except UploadRefused as err:
            raise self._refused(err, reader.info, target) from err
        else:
            self._attributes[key] = _attributes_of(reader.info)
            return change
        finally:
            self.finish()

    def _without_target(self, key: str, refused: UploadRefused, told_at: int) -> ChangeRecord | None:
        """What becomes of a key that cannot be published, but may have been, by other rules for archives."""
        info = self.source.head(self.bucket, key)
        elsewhere = next((Target(path, TargetKind.FILE) for path in other_paths(key, "")), None)
        if info is None:
            return None if elsewhere is None else removal(self.bucket, key, elsewhere, told_at=told_at)
        is_excluded = self.rules.excludes(key)
        reason = Withheld.EXCLUDED if is_excluded else Withheld.REFUSED
        record = None if elsewhere is None else withheld(self.bucket, info, elsewhere, reason, self.rules)
        if is_excluded:
            return record
        raise RefusedAsItIs(refused, record) from refused

    def _check(self, info: ObjectInfo, target: Target) -> None:
        try:
            check_size(info, self.rules)
        except UploadRefused as err:
            raise self._refused(err, info, target) from err

    def _refused(self, err: UploadRefused, info: ObjectInfo, target: Target) -> RefusedAsItIs:
        return RefusedAsItIs(err, withheld(self.bucket, info, target, Withheld.REFUSED, self.rules))


def _attributes_of(info: ObjectInfo) -> Attributes:
    return read_attributes(info.metadata, is_directory_marker=info.key.endswith("/"))


def limits_of(usual: ArchiveLimits, rules: Rules) -> ArchiveLimits:
    """What an archive may hold in a repository that may have limits of its own."""
    own = rules.settings
    return replace(
        usual,
        members=usual.members if own.archive_members_limit is None else own.archive_members_limit,
        content_bytes=usual.content_bytes if own.archive_bytes_limit is None else own.archive_bytes_limit,
        ratio=usual.ratio if own.archive_ratio_limit is None else own.archive_ratio_limit,
        file_bytes=usual.file_bytes if own.file_bytes_limit is None else own.file_bytes_limit,
    )
