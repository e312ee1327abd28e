"""The rules that count for one bucket: what its owner wrote into it, on top of what the repository's record says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from functions.publishing.attributes import Permissions
from functions.publishing.keys import AREA, LINK_SUFFIX, ArchivePlace, Target, TargetKind, key_to_target
from functions.publishing.patterns import Patterns
from functions.publishing.quota import Quota
from functions.publishing.records import RepositorySettings
from functions.publishing.remembered import is_recent
from functions.publishing.sync_settings import SyncSettings

PATIENCE_S = 10.0
"""Seconds between revisions up to which a publisher waits with the changes in hand; else they wait in the queue."""


@dataclass(frozen=True)
class Rules:
    """What is published of a bucket, how, and when."""

    settings: RepositorySettings = RepositorySettings()
    sync: SyncSettings = SyncSettings()

    @cached_property
    def archives(self) -> ArchivePlace:
        """What becomes of archives."""
        return self.sync.archive_place(unpack=self.settings.unpack_archives)

    @cached_property
    def mark(self) -> str:
        """Which rules an object is taken in by; records made by others are not published. Empty for the usual ones."""
        told = [] if self.archives is ArchivePlace.NAME else [f"archives={self.archives}"]
        return ",".join([*told, *([self.permissions] if self.permissions else [])])

    @property
    def permissions(self) -> str:
        """Which rules decided the permissions of an entry, as it says itself; empty for the usual ones."""
        return self.sync.permissions.mark

    @cached_property
    def permission_bits(self) -> Permissions:
        """How permission bits are decided."""
        wanted = self.sync.permissions
        files = None if wanted.files == "metadata" else int(wanted.files, 8)
        return Permissions(files, wanted.readable_by_all)

    @property
    def quota(self) -> Quota:
        """What the repository may hold."""
        return Quota(self.settings.files_limit, self.settings.bytes_limit)

    def target(self, key: str) -> Target:
        """Where the object of a key goes; raises UploadRefused."""
        return key_to_target(key, archives=self.archives)

    def wanted(self, key: str) -> Target | None:
        """Where the object of a key is to be found in the repository, or None if nowhere; raises UploadRefused."""
        if self.excludes(key):
            return None
        target = self.target(key)
        return None if target.kind is TargetKind.ROOT else target

    def excludes(self, key: str) -> bool:
        """Whether an object is left out: its key below ``cvmfs/`` is matched, for a link without rclone's suffix."""
        return self._exclude.excludes(key.removeprefix(AREA).removesuffix(LINK_SUFFIX))

    @cached_property
    def _exclude(self) -> Patterns:
        return Patterns(self.sync.exclude)

    @property
    def is_timed(self) -> bool:
        """Whether changes may have to wait for longer than a function waits."""
        return self.sync.publish.window is not None or self.interval_s > PATIENCE_S

    @property
    def interval_s(self) -> float:
        """Seconds that there should be between revisions under sustained load, as far as anybody asked for some."""
        return max(self.sync.publish.min_interval, self.settings.min_publish_interval_s or 0)

    def is_due(self, last: datetime, now: datetime) -> bool:
        """Whether a revision may follow the one of `last` at this time; both aware."""
        now = now.astimezone(UTC)
        is_paced = self.interval_s <= PATIENCE_S or not is_recent(last, now, timedelta(seconds=self.interval_s))
        return is_paced and self.sync.publish.is_open(now.time())
