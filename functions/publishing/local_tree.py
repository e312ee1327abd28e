"""A tree of a local file system as it goes into a repository: what it holds, what is left out, what is refused."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from functions.cvmfs.entry import AUTO_MARKER_NAME, MARKER_NAME, base_name, parent_path
from functions.errors import TreeRefused

REFUSALS_SHOWN = 5
"""How many paths a refusal names."""

OWN_PREFIX = ".cvmfs"
MARKERS = frozenset({MARKER_NAME, AUTO_MARKER_NAME})
_ALLOWED_TOP_LEVEL = frozenset({".cvmfsdirtab", ".cvmfsbundles", AUTO_MARKER_NAME})
_GRAFT_PREFIX = ".cvmfsgraft-"
_RAW_BYTES = re.compile("[\udc80-\udcff]")
_WHITEOUT = (stat.S_IFCHR, 0)


@dataclass(frozen=True, slots=True)
class TreeItem:
    """What `lstat` says of one path of a local tree; `path` is relative to its top, which is the empty string.

    `mode` is the complete ``st_mode``; `size` is in bytes, for a device its number, for pipes and sockets 0; `mtime_ns`
    in nanoseconds since the epoch; `target` a link's. `owner` (uid, gid) and `xattrs` are None where nobody wants them
    published. `inode` (device and inode) is there where a file has several names. `remark` says what was left out.
    """

    path: str
    mode: int
    size: int
    mtime_ns: int
    target: str = ""
    owner: tuple[int, int] | None = None
    xattrs: tuple[tuple[str, bytes], ...] | None = None
    inode: tuple[int, int] | None = None
    remark: str = ""


class TreeSource(Protocol):
    """A local tree, read only; methods may be called from several threads.

    Raises TreeRefused for what is not there or cannot be read, TreeMoved for what changes meanwhile.
    """

    def items(self) -> Iterator[TreeItem]:
        """The top and everything below it, directories before what they hold."""

    def blocks(self, item: TreeItem) -> Iterator[bytes]:
        """The content of a file, in pieces of at most a few MiB."""


@dataclass(frozen=True, slots=True)
class LocalTree:
    """A local tree as it goes to one place of a repository: its top, and by directory what each directory holds.

    `remarks` are sentences about what is left out.
    """

    top: TreeItem
    children: Mapping[str, list[TreeItem]]
    remarks: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it is a directory with nothing in it."""
        return stat.S_ISDIR(self.top.mode) and not any(self.children.values())

    @classmethod
    def scan(cls, items: Iterable[TreeItem], place: str) -> LocalTree:
        """Sort the items of a tree that goes to `place`; raises TreeRefused for what a repository cannot hold.

        Markers that a balancer made are its own, in a copy of a published tree too, and are left out.
        """
        found = iter(items)
        top = next(found)
        children: dict[str, list[TreeItem]] = {}
        remarks: list[str] = []
        raw_names = 0
        faults = _faults(top, place)
        for item in found:
            raw_names += not item.path.isascii() and _RAW_BYTES.search(base_name(item.path)) is not None
            if item.remark:
                remarks.append(f"{place}{item.path}: {item.remark}.")
            if OWN_PREFIX in item.path or stat.S_ISCHR(item.mode):
                left_out = _left_out(item, place + item.path)
                if left_out:
                    remarks.append(f"{place}{item.path} is left out: {left_out}.")
                    continue
                faults += _faults(item, place + item.path)
            children.setdefault(parent_path(item.path), []).append(item)
        if faults:
            more = f"; and {len(faults) - REFUSALS_SHOWN} more" if len(faults) > REFUSALS_SHOWN else ""
            raise TreeRefused(f"This cannot be published: {'; '.join(faults[:REFUSALS_SHOWN])}{more}.")
        if raw_names:
            remarks.append(f"Names that are not UTF-8: {raw_names}; they are published byte by byte.")
        return cls(top, {path: _without_auto_markers(below) for path, below in children.items()}, tuple(remarks))


def _left_out(item: TreeItem, path: str) -> str:
    """Why an item does no harm but does not go into a repository, or an empty string."""
    if path == f"/{MARKER_NAME}" and stat.S_ISREG(item.mode):
        return "the root of a repository always has a catalog"
    if (stat.S_IFMT(item.mode), item.size) == _WHITEOUT:
        return "overlay file systems take this device for a deleted file"
    return ""


def _faults(item: TreeItem, path: str) -> list[str]:
    """Why a local item cannot be published at a path, if so."""
    fault = _fault(item, path)
    return [f"{path or '/'} {fault}"] if fault else []


def _fault(item: TreeItem, path: str) -> str:
    kind = stat.S_IFMT(item.mode)
    name = base_name(path)
    top_level = path.split("/", 2)[1] if path else ""
    rules = (
        (not path and kind != stat.S_IFDIR, "is the root of the repository, so it must be a directory"),
        (name.startswith(_GRAFT_PREFIX), "describes a graft, which is not supported"),
        (name in MARKERS and kind != stat.S_IFREG, "has a name that only a file may have"),
        (
            top_level.startswith(OWN_PREFIX) and top_level not in _ALLOWED_TOP_LEVEL,
            "has a name that CVMFS keeps for itself",
        ),
    )
    return next((fault for applies, fault in rules if applies), "")


def _without_auto_markers(items: list[TreeItem]) -> list[TreeItem]:
    names = {base_name(item.path) for item in items}
    if AUTO_MARKER_NAME not in names:
        return items
    return [item for item in items if base_name(item.path) not in MARKERS]
