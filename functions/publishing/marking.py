"""Nested catalogs where somebody wants them: by a marker, or by the rules of ``.cvmfsdirtab``.

After every edit the directories that are new, or whose catalog was dissolved, are held against the rules; all others
only when the rules themselves changed, and then no directory is listed that no rule leads to. As with the official
tools a catalog that a rule made outlives the rule (``swissknife_sync.cc: CommandApplyDirtab``).

The marker of such a catalog says in an extended attribute that a rule made it: no bucket and no local tree holds it,
and yet it is not to go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from functions.cvmfs.entry import AUTO_MARKER_NAME, Entry, EntryFlag
from functions.errors import RepositoryDamaged
from functions.publishing.dirtab import DIRTAB_LIMIT, DIRTAB_PATH, Descent, Dirtab
from functions.publishing.tree import CatalogTree

MADE_BY_ATTRIBUTE = "user.made.by"
_DIRTAB = b"dirtab"

_KEPT_BY_CVMFS = "/.cvmfs"

ReadFile = Callable[[Entry], bytes]
"""Gives the content of a small file; raises RepositoryDamaged."""


@dataclass(frozen=True, slots=True)
class DirtabOutcome:
    """What following a dirtab did: new catalogs, what is wrong with the file, and which rules found no directory.

    `idle` is known only when the rules had changed.
    """

    made: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()

    @property
    def remarks(self) -> list[str]:
        """Sentences for the author of the dirtab."""
        faults = [f"{DIRTAB_PATH} is not applied: {fault}." for fault in self.faults]
        return faults + [f"{DIRTAB_PATH}: {text!r} matches no directory." for text in self.idle]


def is_mount(tree: CatalogTree, path: str) -> bool:
    """Whether a nested catalog starts in a directory."""
    entry = tree.lookup(path)
    return entry is not None and entry.is_nested_root


def mark(tree: CatalogTree, directory: str, marker: Entry) -> bool:
    """Start a nested catalog, or keep a balancer from ending the one that is there; whether it is new."""
    if not is_mount(tree, directory):
        tree.split(directory, auto=False, marker=marker)
        return True
    if tree.lookup(f"{directory}/{AUTO_MARKER_NAME}") is not None:
        tree.remove(f"{directory}/{AUTO_MARKER_NAME}")
    return False


def made_by_dirtab(marker: Entry) -> bool:
    """Whether a marker is there because of a rule."""
    return marker.xattrs.get(MADE_BY_ATTRIBUTE) == _DIRTAB


def follow_dirtab(tree: CatalogTree, before: Entry | None, read: ReadFile, marker: Entry) -> DirtabOutcome:
    """Start the nested catalogs that the tree's dirtab wants; `before` is the dirtab of the revision it is based on."""
    now = tree.lookup(DIRTAB_PATH)
    is_other = now is not None and (before is None or _content(before) != _content(now))
    if now is None or not (is_other or tree.new_directories or tree.new_mounts):
        return DirtabOutcome()
    dirtab = read_dirtab(now, read)
    if not dirtab.wanted:
        return DirtabOutcome(faults=dirtab.faults)
    search = _Search(tree, dirtab)
    if is_other:
        search.below("", dirtab.descent())
    else:
        search.among(tree.new_directories)
        for mount in tree.new_mounts:
            search.below(mount, dirtab.descent(mount))
    made = search.mark(replace(marker, xattrs={MADE_BY_ATTRIBUTE: _DIRTAB}))
    idle = [rule.text for rule in dirtab.wanted if rule.text not in search.used] if is_other else []
    return DirtabOutcome(tuple(made), idle=tuple(idle))


class _Search:
    """The directories that the rules lead to, and the rules that led there."""

    def __init__(self, tree: CatalogTree, dirtab: Dirtab) -> None:
        self.used: set[str] = set()
        self._tree = tree
        self._dirtab = dirtab
        self._found: set[str] = set()

    def among(self, paths: set[str]) -> None:
        """Look at some directories."""
        self._found.update(path for path in paths if self._dirtab.matches(path))

    def below(self, top: str, descent: Descent) -> None:
        """Look at a directory and all below it."""
        pending = [(top, descent)]
        while pending:
            path, descent = pending.pop()
            arrived = descent.arrived()
            if arrived and not self._dirtab.excludes(path):
                self._found.add(path)
                self.used.update(rule.text for rule in arrived)
            if descent.deeper() and path != _KEPT_BY_CVMFS:
                pending += [(f"{path}/{name}", descent.into(name)) for name in self._directories(path, descent)]

    def mark(self, marker: Entry) -> list[str]:
        """Start a nested catalog in each directory that was found and has none; deepest first, so rows move once."""
        made = []
        for path in sorted(self._found, key=lambda path: (-path.count("/"), path)):
            entry = self._tree.lookup(path)
            if entry is None or not _may_be_marked(path, entry):
                continue
            was_balanced = self._tree.lookup(f"{path}/{AUTO_MARKER_NAME}") is not None
            if mark(self._tree, path, marker):
                made.append(path)
            elif was_balanced:
                self._tree.put_marker(path, marker)
        return made

    def _directories(self, path: str, descent: Descent) -> list[str]:
        names = descent.names()
        if names is None:
            return [name for name, entry in self._tree.listing(path) if entry.is_directory]
        entries = ((name, self._tree.lookup(f"{path}/{name}")) for name in names)
        return [name for name, entry in entries if entry is not None and entry.is_directory]


def _may_be_marked(path: str, entry: Entry) -> bool:
    return (
        bool(path)
        and entry.is_directory
        and not f"{path}/".startswith(_KEPT_BY_CVMFS + "/")
        and not entry.extra_flags & EntryFlag.BIND_MOUNTPOINT
    )


def _content(dirtab: Entry) -> object:
    return dirtab.digest, dirtab.chunks, dirtab.size


def read_dirtab(entry: Entry, read: ReadFile) -> Dirtab:
    """The rules of a dirtab, or why there are none."""
    if not entry.is_regular or entry.is_external:
        return Dirtab(faults=("it is no regular file of this repository",))
    if entry.size > DIRTAB_LIMIT:
        return Dirtab(faults=(f"it has {entry.size} bytes, at most {DIRTAB_LIMIT} are read",))
    try:
        return Dirtab.parse(read(entry))
    except RepositoryDamaged as err:
        return Dirtab(faults=(f"it cannot be read: {err}",))
