"""Everything a handler needs from the outside, chosen once by ``functions.wiring``."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field

from functions.cvmfs.signing import Signer
from functions.ports import BlobStore, BucketAdmin, Clock, EventBus, KeyStore, ObjectSource
from functions.publishing.archive_rules import ArchiveLimits
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe
from functions.publishing.head import ObjectCache
from functions.publishing.pace import Pace
from functions.publishing.records import RepositoryRecord
from functions.settings import Settings


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
    recipe: Recipe = Recipe()
    archive_limits: ArchiveLimits = ArchiveLimits()
    known_repositories: dict[str, RepositoryRecord] = field(default_factory=dict)
    """Records by repository name; a record never changes its bucket or owner, so a copy may be kept."""

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
