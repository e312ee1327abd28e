"""Random trees on paper and random edits of them: few names and few contents, so that edits meet each other."""

from __future__ import annotations

import stat
from dataclasses import replace

from hypothesis import strategies as st

from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.entry import Chunk, Entry
from tests.forest import Wood, is_below

NAMES = st.sampled_from(["a", "b", "c", "a-", "é", "\udcff"])
TIMES = st.integers(1, 4)
DIGESTS = [HashAlgorithm.SHA1.digest(bytes([number])) for number in range(3)]
XATTRS = st.sampled_from([{}, {}, {"user.a": b"1"}, {"user.a": b"2"}])

files = st.builds(
    lambda mode, at, mtime, xattrs: Entry(
        mode=stat.S_IFREG | mode, size=at, mtime=mtime, digest=DIGESTS[at], xattrs=xattrs
    ),
    st.sampled_from([0o644, 0o755]),
    st.integers(0, 2),
    TIMES,
    XATTRS,
)
chunked_files = st.builds(
    lambda first, second: Entry(
        mode=stat.S_IFREG | 0o644,
        size=8,
        mtime=1,
        chunks=(Chunk(0, 5, DIGESTS[first]), Chunk(5, 3, DIGESTS[second])),
    ),
    st.integers(0, 2),
    st.integers(0, 2),
)
symlinks = st.builds(lambda target, mtime: Entry.link(target, mtime=mtime), st.sampled_from(["a", "../b"]), TIMES)
specials = st.builds(lambda mtime: Entry(mode=stat.S_IFIFO | 0o600, size=0, mtime=mtime), TIMES)
contents = st.one_of(files, files, chunked_files, symlinks, specials)
directories = st.builds(
    lambda mode, mtime, xattrs: Entry.directory(mode=mode, mtime=mtime, xattrs=xattrs),
    st.sampled_from([0o755, 0o700]),
    TIMES,
    XATTRS,
)


@st.composite
def woods(draw: st.DrawFn) -> Wood:
    """A tree with some marked directories."""
    return draw(edits_of(Wood(), most=14))


@st.composite
def edits_of(draw: st.DrawFn, wood: Wood, most: int = 5) -> Wood:
    """Another tree, a few edits away."""
    for _ in range(draw(st.integers(0, most))):
        wood = draw(_edit(wood))
    return wood


@st.composite
def _edit(draw: st.DrawFn, wood: Wood) -> Wood:
    entries, marked = dict(wood.entries), set(wood.marked)
    kind = draw(st.sampled_from(["put", "put", "directory", "directory", "remove", "attributes", "links", "mark"]))
    folders = sorted(path for path, entry in entries.items() if entry.is_directory)
    if kind == "attributes":
        path = draw(st.sampled_from(folders))
        entries[path] = draw(directories)
    elif kind == "mark":
        path = draw(st.sampled_from(folders))
        marked ^= {path} - {""}
    elif kind == "remove":
        path = draw(st.sampled_from(sorted(entries)))
        if path:
            _clear(entries, path)
    else:
        folder = draw(st.sampled_from([path for path in folders if path.count("/") < 4]))
        if kind == "links":
            entry, names = draw(files), draw(st.sets(NAMES, min_size=2, max_size=3))
            taken = {other.hardlink_group for other in entries.values()}
            token = draw(st.integers(1, 2**20).filter(lambda token: token not in taken))
            entry = replace(entry, hardlink_group=token)
        else:
            entry, names = draw(contents if kind == "put" else directories), {draw(NAMES)}
        for name in names:
            path = f"{folder}/{name}"
            if not (entry.is_directory and path in entries and entries[path].is_directory):
                _clear(entries, path)
            entries[path] = entry
    marked = {path for path in marked if path in entries and entries[path].is_directory}
    return Wood(entries, frozenset(marked))


def _clear(entries: dict[str, Entry], path: str) -> None:
    for gone in [at for at in entries if at == path or is_below(at, path)]:
        del entries[gone]
