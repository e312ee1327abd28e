"""Entries come in the order in which a bucket lists its objects, and comparing finds exactly what differs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cvmfs.address import Digest, HashAlgorithm, Kind
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.entry import Entry, encode_text, parent_path
from functions.cvmfs.tree_view import TreeView
from functions.ports import ObjectInfo
from functions.publishing.commit import marker_entry
from functions.publishing.comparison import Reason, SideBySide, judge
from functions.publishing.rules import Rules
from functions.publishing.sourced_entries import SourcedEntries
from functions.publishing.sources import ETAG_ATTRIBUTE, NAME_ATTRIBUTE
from functions.publishing.tree import CatalogTree

MARKER = marker_entry(HashAlgorithm.SHA1, mtime=1)

# Characters on both sides of the slash, and a name that begins as another one does: where orders differ.
names = st.text(st.sampled_from("a-.0é\U0001f600"), min_size=1, max_size=3).filter(lambda name: name not in {".", ".."})
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
kinds = st.sampled_from(["file", "marker", "archive", "link", "moved", "none"])
repositories = st.dictionaries(paths, kinds, max_size=25)


def listed(key: str, *, etag: str = "e", seconds: int = 5) -> ObjectInfo:
    return ObjectInfo(key, 0, etag, datetime.fromtimestamp(seconds, UTC))


def entry_for(path: str, kind: str) -> Entry:
    attributes = {ETAG_ATTRIBUTE: b"e"}
    name = path.rpartition("/")[2]
    if kind == "archive":
        return Entry.directory(mtime=5, xattrs={**attributes, NAME_ATTRIBUTE: f"{name}.tar.gz".encode()})
    if kind == "moved":
        return Entry.directory(mtime=5, xattrs={**attributes, NAME_ATTRIBUTE: b"0ther.zip"})
    if kind == "marker":
        return Entry.directory(mtime=5, xattrs=attributes)
    if kind == "link":
        return Entry.link("x", mtime=5, xattrs={**attributes, NAME_ATTRIBUTE: f"{name}.rclonelink".encode()})
    return replace(MARKER, mtime=5, xattrs=attributes if kind == "file" else {})


def key_for(path: str, kind: str) -> str:
    key = {
        "file": path,
        "marker": f"{path}/",
        "archive": f"{path}.tar.gz",
        "link": f"{path}.rclonelink",
        "moved": f"{parent_path(path)}/0ther.zip",
    }[kind]
    return "cvmfs" + key


def consistent(wanted: dict[str, str]) -> dict[str, str]:
    """The paths that can be together: nothing is below a file, and no two archives have one key."""
    kept: dict[str, str] = {}
    keys: set[str] = set()
    for path, kind in sorted(wanted.items()):
        above, parents = parent_path(path), []
        while above:
            parents.append(above)
            above = parent_path(above)
        fits = all(kept.get(parent, "marker") in {"marker", "archive", "moved"} for parent in parents)
        if fits and (kind == "none" or key_for(path, kind) not in keys):
            kept[path] = kind
            if kind != "none":
                keys.add(key_for(path, kind))
    return kept


def stored(wanted: dict[str, str], nested: set[str]) -> tuple[TreeView, dict[str, str]]:
    """A tree with these entries, and nested catalogs at some of its directories."""
    tree = CatalogTree.new("", Entry.directory(mtime=1))
    contents: dict[Digest, bytes] = {}
    for path, kind in wanted.items():
        parents = []
        above = parent_path(path)
        while above and tree.lookup(above) is None:
            parents.append(above)
            above = parent_path(above)
        for parent in reversed(parents):
            tree.put(parent, Entry.directory(mtime=1))
        tree.put(path, entry_for(path, kind))
    for path in sorted(nested, key=lambda path: -path.count("/")):
        entry = tree.lookup(path)
        if entry is not None and entry.is_directory:
            tree.split(path, auto=False, marker=MARKER)
    committed = tree.commit(now_s=9, ttl_s=240, algorithm=HashAlgorithm.SHA1)
    contents = {address.digest: body for address, body in committed.contents.items() if address.kind is Kind.CATALOG}
    return TreeView(committed.root, contents.__getitem__, CatalogCache()), {
        key_for(path, kind): path for path, kind in wanted.items() if kind != "none"
    }


@st.composite
def trees(draw):
    wanted = consistent(draw(repositories))
    directories = sorted({parent_path(path) for path in wanted} - {""} | {p for p, k in wanted.items() if k != "file"})
    nested = set(draw(st.lists(st.sampled_from(directories), max_size=4))) if directories else set()
    return stored(wanted, nested)


@settings(deadline=None)
@given(trees(), st.sampled_from(["", "a", "a/", "a-", "-", "é/"]), st.sampled_from(["", "a", "a/a", "a.", "é"]))
def test_entries_come_in_the_order_of_their_keys_from_any_key_on(tree, prefix, after):
    view, keys = tree
    start = f"cvmfs/{after}" if after else ""
    found = [(entry.key, entry.path) for entry in SourcedEntries(view).in_key_order(f"cvmfs/{prefix}", start)]
    expected = sorted(
        (
            (key, path)
            for key, path in keys.items()
            if key.startswith(f"cvmfs/{prefix}") and encode_text(key) > encode_text(start)
        ),
        key=lambda pair: encode_text(pair[0]),
    )
    assert found == expected


@settings(deadline=None)
@given(trees())
def test_every_key_of_either_side_comes_once(tree):
    view, keys = tree
    objects = [listed(key) for key in sorted({*keys, "cvmfs/b", "cvmfs/a-b/c"}, key=encode_text)][::2]
    side_by_side = SideBySide(objects, SourcedEntries(view).in_key_order())
    pairs = list(side_by_side)
    assert [pair.key for pair in pairs] == sorted({*keys, *(info.key for info in objects)}, key=encode_text)
    assert {pair.key for pair in pairs if pair.info} == {info.key for info in objects}
    assert (side_by_side.tally.objects, side_by_side.tally.entries) == (len(objects), len(keys))


changes = st.sampled_from(["same", "etag", "time", "gone"])


@settings(deadline=None)
@given(trees(), st.data())
def test_exactly_what_differs_is_found(tree, data):
    view, keys = tree
    expected: dict[str, Reason] = {}
    objects = [listed("cvmfs/zz/new")]
    expected["cvmfs/zz/new"] = Reason.NEW
    for key in keys:
        change = data.draw(changes)
        if key.endswith("0ther.zip"):
            continue
        if change == "gone":
            expected[key] = Reason.GONE
            continue
        etag, seconds = ("f" if change == "etag" else "e"), (6 if change == "time" else 5)
        objects.append(listed(key, etag=etag, seconds=seconds))
        if change != "same":
            expected[key] = Reason.REPLACED if change == "etag" else Reason.REWRITTEN
    objects.sort(key=lambda info: encode_text(info.key))
    judged = [judge(pair, Rules()) for pair in SideBySide(objects, SourcedEntries(view).in_key_order())]
    found = {difference.key: difference.reason for difference in judged if difference is not None}
    assert {key: reason for key, reason in found.items() if not key.endswith("0ther.zip")} == expected
    assert all(reason is Reason.GONE for key, reason in found.items() if key.endswith("0ther.zip"))
