"""The rules of the buckets: read where they are, judged once per version, and the last ones without mistakes kept.

What counts follows from the bucket and from one file in the state bucket, ``sync-settings/<fqrn>.json``: no settings in
the bucket, no rules; settings without mistakes, those; settings with a mistake, the last ones that had none. Who was
told that the settings changed puts that file in order (`changed`, `follow`); everybody else only reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from functions.errors import UploadRefused, VersionMoved
from functions.ports import BlobStore, Clock, ObjectInfo, ObjectSource
from functions.publishing.keys import SETTINGS_KEY
from functions.publishing.records import KeptSettings, RepositoryRecord, RepositorySettings, kept_settings_path
from functions.publishing.remembered import Remembered
from functions.publishing.rules import Rules
from functions.publishing.sync_settings import SIZE_LIMIT, SyncSettings, SyncSettingsFault

READ_ATTEMPTS = 3

_NO_LIMITS = RepositorySettings()


@dataclass(frozen=True, slots=True)
class _Read:
    """A version of the settings, or their absence: what it says, or the last one without mistakes; its mistakes."""

    version: tuple[str, datetime] | None
    sync: SyncSettings
    faults: tuple[str, ...] = ()
    content: bytes = b""


@dataclass(frozen=True, slots=True)
class Change:
    """Other settings than those that were followed so far; `kept` is None where there are none any more."""

    kept: KeptSettings | None

    @property
    def version(self) -> str:
        """Which version of the settings counts from now on."""
        return "none" if self.kept is None else self.kept.version


class KnownRules:
    """Rules by repository; safe for several threads. `defaults` are limits of repositories that have none."""

    def __init__(
        self,
        source: ObjectSource,
        state: BlobStore,
        clock: Clock,
        *,
        keep: timedelta = timedelta(seconds=5),
        defaults: RepositorySettings = _NO_LIMITS,
    ) -> None:
        self._source = source
        self._state = state
        self._clock = clock
        self._defaults = defaults
        self._known: Remembered[_Read] = Remembered(keep)

    def get(self, record: RepositoryRecord) -> Rules:
        """The rules as they were a moment ago, for the many who look at objects; raises StoreUnavailable."""
        read = self._known.recent(record.repository, self._clock())
        return self.fresh(record) if read is None else self._rules(record, read)

    def fresh(self, record: RepositoryRecord) -> Rules:
        """The rules as they are now, for the one who publishes; costs one HEAD while they stay the same."""
        return self._rules(record, self._read(record))

    def changed(self, record: RepositoryRecord) -> Change | None:
        """What changed since somebody last followed a change; raises UploadRefused if the settings have mistakes."""
        read = self._read(record)
        blob = self._state.get(kept_settings_path(record.repository))
        kept = None if blob is None else KeptSettings.from_bytes(blob.body)
        if read.faults:
            raise UploadRefused(
                f"{SETTINGS_KEY.rpartition('/')[2]} is not followed: {'; '.join(read.faults)}",
                code="sync-settings",
                hint="Correct it and upload it again; until then the last version without mistakes counts.",
            )
        if read.version is None:
            return None if kept is None else Change(None)
        etag, modified = read.version
        version = f"{etag}@{int(modified.timestamp())}"
        if kept is not None and kept.version == version:
            return None
        return Change(KeptSettings(repository=record.repository, version=version, content=read.content.decode()))

    def follow(self, record: RepositoryRecord, change: Change) -> None:
        """Note that a change is followed; to be called when everybody has been told."""
        if change.kept is None:
            self._state.delete(kept_settings_path(record.repository))
        else:
            self._state.put(change.kept.path, change.kept.to_bytes())

    def _rules(self, record: RepositoryRecord, read: _Read) -> Rules:
        own = record.settings.model_dump(exclude_none=True)
        return Rules(RepositorySettings.model_validate({**self._defaults.model_dump(), **own}), read.sync)

    def _read(self, record: RepositoryRecord) -> _Read:
        now = self._clock()
        info = self._source.head(record.bucket, SETTINGS_KEY)
        version = None if info is None else (info.etag, info.modified)
        read = self._known.last(record.repository)
        if read is None or read.version != version:
            read = _Read(None, SyncSettings()) if info is None else self._parsed(record, info)
        self._known.note(record.repository, read, now)
        return read

    def _parsed(self, record: RepositoryRecord, info: ObjectInfo) -> _Read:
        for _ in range(READ_ATTEMPTS):
            reader = self._source.open(record.bucket, SETTINGS_KEY)
            if reader is None:
                return _Read(None, SyncSettings())
            version = (reader.info.etag, reader.info.modified)
            try:
                content = reader.read(0)[: SIZE_LIMIT + 1] if reader.info.size else b""
                while len(content) < min(reader.info.size, SIZE_LIMIT + 1):
                    content += reader.read(len(content))
                return _Read(version, SyncSettings.parse(content), content=content)
            except VersionMoved:
                continue
            except SyncSettingsFault as err:
                return _Read(version, self._kept(record.repository), tuple(err.shown))
        raise VersionMoved(f"{info.key} of {record.repository} was replaced {READ_ATTEMPTS} times while it was read")

    def _kept(self, repository: str) -> SyncSettings:
        blob = self._state.get(kept_settings_path(repository))
        try:
            kept = "" if blob is None else KeptSettings.from_bytes(blob.body).content
            return SyncSettings.parse(kept.encode())
        except SyncSettingsFault:
            return SyncSettings()  # kept by a version of this service that knew other settings
