"""Which revisions a collection of garbage keeps: pure rules over the reflog, the tags and the chain of root catalogs.

Kept are the live root catalog, every tagged one, and those of the chain of predecessors that the retention reaches. All
other root catalogs in the reflog are condemned. Source: ``garbage_collector_impl.h``, ``catalog_traversal_parallel.h``,
``gc_aux_impl.h``; defaults of ``cvmfs_server_gc.sh``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from functions.cvmfs.address import Digest
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.reflog import Reference, RefType

DEFAULT_AGE = timedelta(days=3)
"""How long revisions are kept if nothing else is said; clients and replicas that lag behind less find all they need."""

REPLICAS_LOOK_BACK = timedelta(days=3)
"""How far ``cvmfs_server snapshot`` follows predecessors (``-Z`` of ``swissknife_pull.cc``).

It passes over a root catalog that is gone, and fails at one that is there and has lost an object.
"""

GRACE = timedelta(days=8)
"""How long an object that nothing refers to is left alone.

Longer than it can take from storing an object to the manifest that refers to it. Change records wait up to seven days
in their queue (``RETRY_FOR_S``), a publish takes hours, and an object found stored already is sent again from an age of
twelve hours on (``objects.py: RENEW_AFTER``).
"""

LEAST_GRACE = timedelta(days=1)
"""Below this nobody may publish while garbage is collected."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How far back revisions are kept: `revisions` before the live one, and those younger than `since` (epoch seconds).

    None does not limit; where both are given, both limit. 0 revisions keep the live one alone.
    """

    revisions: int | None = None
    since: int | None = None

    def goes_on(self, depth: int, age: int) -> bool:
        """Whether the predecessor is kept too of a root catalog `depth` steps back, entered at `age` (epoch seconds).

        So the first one beyond the limit of age is itself kept: it was the live one at that time.
        """
        within_depth = self.revisions is None or depth < self.revisions
        within_age = self.since is None or age >= self.since
        return within_depth and within_age


@dataclass(frozen=True, slots=True)
class Sentence:
    """What becomes of a reflog: root catalogs and auxiliary objects that go, and auxiliary ones that stay."""

    gone: tuple[Reference, ...] = ()
    kept_auxiliary: tuple[Reference, ...] = ()


def young_roots(references: Iterable[Reference], since: int) -> list[Digest]:
    """The root catalogs entered after `since` (epoch seconds)."""
    return [
        reference.digest
        for reference in references
        if reference.type is RefType.CATALOG and reference.timestamp > since
    ]


def judge(
    references: Iterable[Reference],
    manifest: Manifest,
    kept_roots: Collection[Digest],
    *,
    oldest: int | None,
) -> Sentence:
    """Divide the entries of a reflog into what goes and what stays.

    A tag database, certificate or metainfo stays if the manifest names it, or if it was entered at `oldest` or later:
    when the oldest predecessor that is kept was entered; None if none is kept.
    """
    gone, kept = [], []
    current = {manifest.history, manifest.certificate, manifest.metainfo}
    for reference in references:
        if reference.type is RefType.CATALOG:
            if reference.digest not in kept_roots:
                gone.append(reference)
        elif reference.digest in current or (oldest is not None and reference.timestamp >= oldest):
            kept.append(reference)
        else:
            gone.append(reference)
    return Sentence(tuple(gone), tuple(kept))
