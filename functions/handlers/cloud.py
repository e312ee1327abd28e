"""Everything a handler needs from the outside, chosen once by ``functions.wiring``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Semaphore

from functions.cvmfs.signing import Signer
from functions.ports import BlobStore, BucketAdmin, Clock, EventBus, KeyStore, ObjectSource
from functions.publishing.archive_rules import ArchiveLimits
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe
from functions.publishing.crowd import Crowd
from functions.publishing.head import ObjectCache
from functions.publishing.known import KnownRepositories
from functions.publishing.known_rules import KnownRules
from functions.publishing.pace import Pace
from functions.publishing.records import RepositorySettings
from functions.settings import Settings

ARCHIVES_AT_ONCE = 2
"""Archives that a process unpacks side by side; each needs some 20 MB, whatever its size, and two keep a core busy."""


@dataclass(frozen=True, slots=True)
class Cloud:
    """The ports, the settings, and what a process may remember between events (caches, which can vanish)."""

    settings: Settings
    clock: Clock
    state: BlobStore
    repository_store: Callable[[str], BlobStore]
    """The store of one repository, by its name; of what is above all of them, by an empty one."""
    source: ObjectSource
    buckets: BucketAdmin
    keys: KeyStore
    bus: EventBus
    executor: Executor
    cache: ObjectCache
    pace: Pace
    crowd: Crowd
    recipe: Recipe = Recipe()
    archive_limits: ArchiveLimits = ArchiveLimits()
    archive_turn: Semaphore = field(default_factory=lambda: Semaphore(ARCHIVES_AT_ONCE))
    """Held by whoever unpacks an archive."""
    declared_queues: set[str] = field(default_factory=set)
    """Repositories whose change queue this process has declared."""
    known: KnownRepositories = field(init=False)
    rules: KnownRules = field(init=False)

    def __post_init__(self) -> None:
        """Remember records and rules for as long as the settings say."""
        keep = timedelta(seconds=self.settings.record_keep_s)
        defaults = RepositorySettings(
            files_limit=self.settings.files_limit,
            bytes_limit=self.settings.bytes_limit,
            file_bytes_limit=self.settings.file_bytes_limit,
        )
        rules = KnownRules(self.source, self.state, self.clock, keep=keep, defaults=defaults)
        object.__setattr__(self, "known", KnownRepositories(self.state, self.clock, keep))
        object.__setattr__(self, "rules", rules)

    def publisher(self, fqrn: str, signer: Signer | None = None) -> Publisher:
        """The publisher of one repository."""
        return Publisher(
            fqrn=fqrn,
            store=self.repository_store(fqrn),
            signer=self.keys.signer(fqrn) if signer is None else signer,
            cache=self.cache,
            executor=self.executor,
            clock=self.clock,
            codec=self.recipe.codec,
        )

    @property
    def server(self) -> BlobStore:
        """What is above all repositories, at `repository_url`."""
        return self.repository_store("")

    def url_of(self, fqrn: str) -> str:
        """Where worker nodes read a repository."""
        return f"{self.settings.repository_url.rstrip('/')}/{fqrn}"


def event_source(step: str) -> str:
    """The CloudEvents `source` of a function."""
    return f"/cvmfs-cloud/{step}"
