"""What can be inconsistent in one catalog, found row by row.

Source: ``swissknife_check.cc`` (``Find``, ``InspectTree``), whose rules these are, and the rules of the format that it
does not look at: path hashes, flags against modes, NULLs, unreachable chunk rows.
"""

from __future__ import annotations

import stat
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from functions.cvmfs.catalog_database import NO_DIGEST
from functions.cvmfs.catalog_entries import CatalogEntries
from functions.cvmfs.counters import COUNTER_NAMES, Counters
from functions.cvmfs.entry import MARKER_NAME, Entry, EntryFlag, base_name, parent_path, path_hash
from functions.cvmfs.errors import CatalogError
from functions.cvmfs.findings import Finding, error, warning
from functions.cvmfs.rows import SELECT_ENTRY, check_name, chunk_problem

_ELSEWHERE = EntryFlag.NESTED_MOUNTPOINT | EntryFlag.BIND_MOUNTPOINT


Visit = Callable[[str, Entry], None]
"""Is shown every path and entry that can be read."""


def check_catalog(catalog: CatalogEntries, visit: Visit | None = None) -> list[Finding]:
    """Everything that is wrong in one catalog alone, its nested catalogs not looked at."""
    check = _CatalogCheck(catalog, visit)
    try:
        check.run()
    except CatalogError as err:
        check.findings.append(error(catalog.path, err))
    return check.findings


class _CatalogCheck:
    """One pass over a catalog, collecting what it finds."""

    def __init__(self, catalog: CatalogEntries, visit: Visit | None) -> None:
        self.findings: list[Finding] = []
        self._catalog = catalog
        self._visit = visit
        self._mounts: dict[str, EntryFlag] = {}
        self._groups: dict[int, list[tuple[str, Entry]]] = defaultdict(list)
        self._walked = 0

    def run(self) -> None:
        self._check_properties()
        rows = self._catalog.query(
            SELECT_ENTRY + "WHERE md5path_1 = ? AND md5path_2 = ?", path_hash(self._catalog.path)
        )
        if not rows:
            self._error(self._catalog.path, "the catalog has no root entry")
            return
        self._check_root(rows[0])
        self._walk()
        self._check_reachability()
        self._check_hardlinks()
        self._check_mounts()
        self._check_references()
        self._check_counters()

    def _error(self, where: str, what: object) -> None:
        self.findings.append(error(where, what))

    def _check_properties(self) -> None:
        catalog = self._catalog
        for key in ("schema", "revision", "last_modified"):
            if catalog.get_property(key) is None:
                self._error(catalog.path, f"the catalog has no property {key}")
        path = catalog.path
        if path and (not path.startswith("/") or path.endswith("/") or "//" in path):
            self._error(path, "root_prefix is not a path such as /a/b")
        _ = catalog.revision, catalog.last_modified, catalog.ttl, catalog.previous_revision  # raise what is wrong

    def _check_root(self, row: tuple[Any, ...]) -> None:
        path = self._catalog.path
        self._walked += 1
        parents = self._catalog.query(
            "SELECT parent_1, parent_2 FROM catalog WHERE md5path_1 = ? AND md5path_2 = ?", path_hash(path)
        )
        if parents[0] != (path_hash(parent_path(path)) if path else (0, 0)):
            self._error(path, "the root entry of the catalog has the wrong parent")
        if row[7] != base_name(path):
            self._error(path, f"the root entry of the catalog is named {row[7]!r}")
        entry = self._entry(path, row)
        if entry is None:
            return
        if not entry.is_directory:
            self._error(path, "the root entry of the catalog is not a directory")
        if entry.is_nested_root is not bool(path):
            self._error(path, "the root entry of a nested catalog, and only that, is flagged so")
        if entry.extra_flags & _ELSEWHERE:
            self._error(path, "the root entry of the catalog is flagged as a mount point")

    def _walk(self) -> None:
        pending = [self._catalog.path]
        while pending:
            path = pending.pop()
            directories = 0
            for row in self._catalog.rows_in(path):
                entry = self._check_row(path, row)
                if entry is not None and entry.is_directory:
                    directories += 1
                    if not entry.extra_flags & _ELSEWHERE:
                        pending.append(f"{path}/{row[7]}")
            self._check_directory(path, directories)

    def _check_row(self, parent: str, row: tuple[Any, ...]) -> Entry | None:
        name = row[7]
        self._walked += 1
        try:
            check_name(name if isinstance(name, str) else "")
        except CatalogError as err:
            self._error(parent, err)
            return None
        path = f"{parent}/{name}"
        if (row[12], row[13]) != path_hash(path):
            self._error(path, "the path hash belongs to another path, so no client finds this entry")
            return None
        entry = self._entry(path, row)
        if entry is None:
            return None
        if entry.is_nested_root:
            self._error(path, "an entry inside the catalog is flagged as the root of a nested catalog")
        if name == MARKER_NAME:
            self._check_marker(parent, path, entry)
        if entry.is_directory and entry.extra_flags & _ELSEWHERE:
            self._mounts[path] = entry.extra_flags & _ELSEWHERE
        if entry.hardlink_group and not entry.is_directory:
            self._groups[entry.hardlink_group].append((path, entry))
        return entry

    def _check_marker(self, parent: str, path: str, entry: Entry) -> None:
        if not entry.is_regular:
            self._error(path, "the marker of a nested catalog is not a regular file")
        if not parent:
            self._error(path, "a marker in the root directory, where no nested catalog can start")
        elif parent != self._catalog.path:
            self._error(path, "an abandoned marker: no nested catalog starts here")

    def _entry(self, path: str, row: tuple[Any, ...]) -> Entry | None:
        if not isinstance(row[8], str):
            self._error(path, "the symlink column is NULL, which crashes clients")
        try:
            entry = self._catalog.entry_of(row)
        except CatalogError as err:
            self._error(path, err)
            return None
        for problem in _problems(entry, row):
            self._error(path, problem)
        flags = row[6]
        chunkless = flags & EntryFlag.CHUNKED and not entry.chunks
        if flags != entry.flags and not chunkless:
            self.findings.append(warning(path, f"flags are {flags:#x}, its mode and content say {entry.flags:#x}"))
        if self._visit is not None:
            self._visit(path, entry)
        return entry

    def _check_directory(self, path: str, directories: int) -> None:
        entry = self._catalog.lookup(path)
        if entry is not None and entry.is_directory and entry.linkcount != 2 + directories:
            self._error(path, f"link count {entry.linkcount}, with {directories} sub-directories")
        if path and path == self._catalog.path and self._catalog.lookup(f"{path}/{MARKER_NAME}") is None:
            self._error(path, f"the nested catalog has no {MARKER_NAME}")

    def _check_reachability(self) -> None:
        ((rows,),) = self._catalog.query("SELECT count(*) FROM catalog")
        if rows != self._walked:
            self._error(self._catalog.path, f"{rows} entries, of which {self._walked} are reachable from the root")
        ((stray,),) = self._catalog.query(
            "SELECT count(*) FROM chunks LEFT JOIN catalog USING (md5path_1, md5path_2) "
            "WHERE catalog.flags IS NULL OR NOT catalog.flags & 64"
        )
        if stray:
            self._error(self._catalog.path, f"{stray} chunks belong to no chunked file")

    def _check_hardlinks(self) -> None:
        for group, members in self._groups.items():
            path, first = members[0]
            if len({parent_path(member) for member, _ in members}) > 1:
                self._error(path, f"hard-link group {group} spans several directories")
            if len(members) != first.linkcount:
                self._error(
                    path, f"link count {first.linkcount}, but {len(members)} entries in hard-link group {group}"
                )
            for member, entry in members[1:]:
                if entry != first:
                    self._error(member, f"differs from {path}, a member of the same hard-link group")

    def _check_mounts(self) -> None:
        nested, bound = self._catalog.nested(), self._catalog.bind_mounts()
        for path, flags in self._mounts.items():
            if flags == _ELSEWHERE:
                self._error(path, "flagged as both kinds of mount point")
            if flags & EntryFlag.NESTED_MOUNTPOINT and path not in nested:
                self._error(path, "a mount point without a reference to a nested catalog")
            if flags & EntryFlag.BIND_MOUNTPOINT and path not in bound:
                self._error(path, "a bind mount point without a reference to a catalog")
            if self._catalog.rows_in(path):
                self._error(path, "entries below a mount point, where no client finds them")

    def _check_references(self) -> None:
        nested, bound = self._catalog.nested(), self._catalog.bind_mounts()
        for path, reference in nested.items():
            if not self._mounts.get(path, EntryFlag(0)) & EntryFlag.NESTED_MOUNTPOINT:
                self._error(path, "a reference to a nested catalog, but no mount point")
            if reference.digest == NO_DIGEST:
                self._error(path, "the reference names no stored catalog")
        for path in bound:
            if path in nested:
                self._error(path, "both a nested catalog and a bind mount")
            if not self._mounts.get(path, EntryFlag(0)) & EntryFlag.BIND_MOUNTPOINT:
                self._error(path, "a reference to a bound catalog, but no bind mount point")

    def _check_counters(self) -> None:
        counted = replace(self._catalog.recount(), nested=len(self._catalog.nested()))
        for what in counter_differences(self._catalog.self_counters, counted, "self"):
            self._error(self._catalog.path, what)


def counter_differences(stored: Counters, counted: Counters, prefix: str) -> Iterator[str]:
    """A sentence for each counter that is not what counting yields."""
    was, should = stored.as_mapping(), counted.as_mapping()
    for name in COUNTER_NAMES:
        if was[name] != should[name]:
            yield f"counter {prefix}_{name} is {was[name]}, counted {should[name]}"


def _problems(entry: Entry, row: tuple[Any, ...]) -> Iterator[str]:
    if entry.linkcount < 1:
        yield "link count 0"
    if row[11] is not None and not entry.xattrs:
        yield "an xattr blob without attributes, where NULL belongs"
    if not stat.S_IFMT(entry.mode):
        yield f"mode {entry.mode:o} has no file type"
    if entry.is_regular:
        yield from _content_problems(entry, row)
    else:
        yield from _other_problems(entry)
    if entry.is_directory:
        if entry.hardlink_group:
            yield "a directory in a hard-link group"
    elif entry.linkcount > 1 and not entry.hardlink_group:
        yield f"link count {entry.linkcount}, but in no hard-link group"


def _content_problems(entry: Entry, row: tuple[Any, ...]) -> Iterator[str]:
    if row[6] & EntryFlag.CHUNKED:
        if entry.chunks:
            problem = chunk_problem(entry)
            if problem:
                yield problem
        else:
            yield "a chunked file without chunks"
    elif entry.digest is None:
        yield "a regular file without a hash"
    if entry.size < 0:
        yield f"size {entry.size}"


def _other_problems(entry: Entry) -> Iterator[str]:
    if entry.digest is not None:
        yield "a hash on something that is no regular file"
    if entry.is_external:
        yield "flagged as external, but no regular file"
    if EntryFlag.DIRECT_IO in entry.extra_flags:
        yield "flagged for direct I/O, but no regular file"
    if entry.symlink and not entry.is_symlink:
        yield "a link target on something that is no symlink"
    if (stat.S_ISFIFO(entry.mode) or stat.S_ISSOCK(entry.mode)) and entry.size:
        yield f"a fifo or socket of size {entry.size}"
    if not entry.is_directory and entry.extra_flags & _ELSEWHERE:
        yield "flagged as a mount point, but no directory"
