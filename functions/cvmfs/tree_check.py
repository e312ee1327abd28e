"""What can be wrong in a tree of catalogs and the objects it refers to.

Source: ``swissknife_check.cc`` (``InspectTree``, ``CompareEntries``, ``CompareCounters``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog, NestedReference
from functions.cvmfs.catalog_check import check_catalog, counter_differences
from functions.cvmfs.catalog_database import NO_DIGEST
from functions.cvmfs.compression import Compression
from functions.cvmfs.counters import Counters
from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import CatalogError, FormatError
from functions.cvmfs.findings import Finding, error, warning
from functions.cvmfs.reader import Fetch, content_of, fetch_object

_BATCH = 1000
"""Objects that are looked at together, so that an executor has something to do."""


@dataclass(slots=True)
class Counts:
    """How much has been checked: catalogs, their entries, distinct objects of files, and bytes of content re-hashed."""

    catalogs: int = 0
    entries: int = 0
    objects: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class CheckedCatalog:
    """What other checks need to know of a catalog that has been checked; `size` is that of its database in bytes."""

    path: str
    size: int
    root: Entry | None
    revision: int
    last_modified: int
    ttl: int | None
    counted: Counters
    subtree: Counters
    uncounted: frozenset[str]
    children: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class _Object:
    """An object a file needs, and what the file says of it."""

    address: Address
    size: int
    compression: Compression


@dataclass(slots=True)
class TreeCheck:
    """Checks trees below root catalogs; what several trees share is looked at once.

    With `data` every object is fetched, hashed and inflated, otherwise only asked for with `exists`; without `objects`
    they are left alone. `executor` is where objects are looked at, and may be None.
    """

    fetch: Fetch
    exists: Callable[[str], bool]
    data: bool
    executor: Executor | None
    progress: Callable[[Counts], None]
    objects: bool = True
    findings: list[Finding] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    _checked: dict[Digest, CheckedCatalog | None] = field(default_factory=dict)
    _totals: dict[Digest, Counters] = field(default_factory=dict)
    _objects: set[_Object] = field(default_factory=set)
    _batch: list[tuple[_Object, str]] = field(default_factory=list)

    def check(self, root: Digest, subtree: str = "") -> CheckedCatalog | None:
        """Check the tree below a root catalog, or from the nested catalog at `subtree` on.

        Returns what is known of the catalog it begins at, None if that cannot be opened.
        """
        order = []
        pending: list[tuple[NestedReference, Entry | None]] = [(NestedReference("", root, 0), None)]
        if subtree:
            pending = self._references_to(subtree, root)
        start = pending[0][0].digest if pending else root
        while pending:
            reference, mount_point = pending.pop()
            if reference.digest not in self._checked:
                self._checked[reference.digest] = self._check_catalog(reference, pending)
                order.append(reference.digest)
            checked = self._checked[reference.digest]
            if checked is not None:
                self.findings += _reference_findings(reference, mount_point, checked)
        self._look_at_batch()
        for digest in reversed(order):
            self._check_subtree(digest)
        return self._checked.get(start)

    def _references_to(self, subtree: str, root: Digest) -> list[tuple[NestedReference, Entry | None]]:
        """The one reference to the nested catalog at `subtree`, or none."""
        reference: NestedReference | None = NestedReference("", root, 0)
        try:
            while reference is not None:
                address = Address(reference.digest, Kind.CATALOG)
                with Catalog.from_bytes(fetch_object(self.fetch, address)) as catalog:
                    reference = catalog.nested_covering(subtree)
                    if reference is not None and reference.path == subtree:
                        return [(reference, catalog.lookup(subtree))]
        except FormatError as err:
            self.findings.append(error(address.path, err))
        else:
            self.findings.append(error(subtree, "no nested catalog is mounted here"))
        return []

    def _check_catalog(
        self, reference: NestedReference, pending: list[tuple[NestedReference, Entry | None]]
    ) -> CheckedCatalog | None:
        address = Address(reference.digest, Kind.CATALOG)
        try:
            blob = fetch_object(self.fetch, address)
        except FormatError as err:
            self.findings.append(error(address.path, f"catalog of {reference.path or '/'}: {err}"))
            return None
        try:
            with Catalog.from_bytes(blob) as catalog:
                self.findings += check_catalog(catalog, self._visit)
                checked = _describe(catalog, len(blob))
                below = self._references(catalog)
                pending += below
        except CatalogError as err:
            self.findings.append(error(address.path, f"catalog of {reference.path or '/'}: {err}"))
            return None
        self.counts.catalogs += 1
        self.progress(replace(self.counts))
        return replace(checked, children=tuple(child.digest for child, _ in below))

    def _references(self, catalog: Catalog) -> list[tuple[NestedReference, Entry | None]]:
        below = []
        for path, reference in catalog.nested().items():
            if not path.startswith(catalog.path + "/"):
                self.findings.append(error(path, f"a reference from catalog {catalog.path or '/'}, which is not above"))
            elif reference.digest != NO_DIGEST:
                below.append((reference, catalog.lookup(path)))
        for path, reference in catalog.bind_mounts().items():
            # Nobody but the client follows it (``catalog.cc: ListOwnNestedCatalogs``), not even a garbage collection.
            if not self.exists(Address(reference.digest, Kind.CATALOG).path):
                self.findings.append(warning(path, f"the bound root catalog {reference.digest} does not exist"))
        return below

    def _visit(self, path: str, entry: Entry) -> None:
        self.counts.entries += 1
        if not self.objects or not entry.is_regular or entry.is_external or not (entry.digest or entry.chunks):
            return
        needed = content_of(path, entry)
        if entry.chunks and entry.digest:
            # A bulk object beside the chunks, for ancient clients, must exist too.
            needed += content_of(path, replace(entry, chunks=()))
        for chunk, kind in needed:
            wanted = _Object(Address(chunk.digest, kind), chunk.size, entry.compression)
            if wanted not in self._objects:
                self._objects.add(wanted)
                self._batch.append((wanted, path))
        if len(self._batch) >= _BATCH:
            self._look_at_batch()

    def _look_at_batch(self) -> None:
        batch, self._batch = self._batch, []
        if not batch:
            return
        run = map if self.executor is None else self.executor.map
        for (wanted, path), problem in zip(batch, run(self._problem_of, (item for item, _ in batch)), strict=True):
            if problem:
                self.findings.append(error(wanted.address.path, f"{path}: {problem}"))
            self.counts.objects += 1
            self.counts.bytes += wanted.size if self.data else 0
        self.progress(replace(self.counts))

    def _problem_of(self, wanted: _Object) -> str | None:
        if not self.data:
            return None if self.exists(wanted.address.path) else "the object does not exist"
        try:
            content = fetch_object(self.fetch, wanted.address, wanted.compression, limit=max(wanted.size, 0))
        except FormatError as err:
            return str(err)
        if len(content) != wanted.size:
            return f"the object has {len(content)} bytes of content, expected {wanted.size}"
        return None

    def _check_subtree(self, digest: Digest) -> None:
        checked = self._checked[digest]
        if checked is None or not all(child in self._totals for child in checked.children):
            return  # a missing catalog is a finding already, and nothing can be summed up over it
        subtree = sum((self._totals[child] for child in checked.children), Counters())
        self._totals[digest] = checked.counted + subtree
        known = Counters(**(subtree.as_mapping() | dict.fromkeys(checked.uncounted, 0)))
        for what in counter_differences(checked.subtree, known, "subtree"):
            self.findings.append(error(checked.path, what))


def _describe(catalog: Catalog, size: int) -> CheckedCatalog:
    return CheckedCatalog(
        path=catalog.path,
        size=size,
        root=catalog.lookup(catalog.path),
        revision=catalog.revision,
        last_modified=catalog.last_modified,
        ttl=catalog.ttl,
        counted=catalog.recount() + Counters(nested=len(catalog.nested())),
        subtree=catalog.subtree_counters,
        uncounted=catalog.uncounted,
        children=(),
    )


def _reference_findings(
    reference: NestedReference, mount_point: Entry | None, checked: CheckedCatalog
) -> Iterator[Finding]:
    if checked.path != reference.path:
        yield error(reference.path, f"root prefix mismatch: the catalog is for {checked.path or '/'}")
    elif mount_point is not None and checked.root is not None:
        yield from _transition_findings(reference.path, mount_point, checked.root)
    if reference.size not in {0, checked.size}:
        yield error(reference.path, f"the catalog has {checked.size} bytes, the reference says {reference.size}")


def _transition_findings(path: str, mount_point: Entry, root: Entry) -> Iterator[Finding]:
    fields = ("mode", "size", "mtime", "mtime_ns", "linkcount", "hardlink_group", "digest", "symlink", "xattrs")
    for name in fields:
        here, there = getattr(mount_point, name), getattr(root, name)
        if here != there:
            yield error(path, f"mount point and nested root differ in {name}: {here!r} and {there!r}")
    if (mount_point.uid, mount_point.gid) != (root.uid, root.gid):
        yield warning(path, "mount point and nested root have different owners")
