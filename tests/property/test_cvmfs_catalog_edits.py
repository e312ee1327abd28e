"""Whatever is done to catalogs, they stay what a plain dictionary says, and consistent."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.catalog import Catalog, Counters, NestedReference
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import MARKER_NAME, Chunk, Entry, EntryFlag, parent_path
from functions.cvmfs.errors import CatalogError
from tests.strategies import digests, file_names, xattrs

STRUCTURE = EntryFlag.NESTED_MOUNTPOINT | EntryFlag.NESTED_ROOT | EntryFlag.BIND_MOUNTPOINT
DIRECTORY = Entry.directory(mtime=1)
MARKER = Entry(mode=stat.S_IFREG | 0o644, size=0, mtime=1, digest=HashAlgorithm.SHA1.digest(b""))

common = {
    "mtime": st.integers(-(2**40), 2**40),
    "mtime_ns": st.none() | st.integers(0, 10**9 - 1),
    "uid": st.integers(0, 2**32 - 1),
    "gid": st.integers(0, 2**32 - 1),
    "xattrs": st.just({}) | xattrs,
}
permissions = st.integers(0, 0o7777)


@st.composite
def chunked_files(draw: st.DrawFn) -> Entry:
    algorithm = draw(st.sampled_from(HashAlgorithm))
    sizes = draw(st.lists(st.integers(1, 2**40), min_size=1, max_size=4))
    offsets = [sum(sizes[:at]) for at in range(len(sizes))]
    chunks = tuple(
        Chunk(offset, size, Digest(algorithm, draw(st.binary(min_size=20, max_size=20))))
        for offset, size in zip(offsets, sizes, strict=True)
    )
    bulk = draw(st.none() | st.just(Digest(algorithm, b"\1" * 20)))
    return Entry(mode=stat.S_IFREG | 0o644, size=sum(sizes), mtime=0, chunks=chunks, digest=bulk)


directories = st.builds(
    Entry,
    mode=permissions.map(stat.S_IFDIR.__or__),
    size=st.sampled_from([97, 4096]),
    linkcount=st.just(2),
    extra_flags=st.sampled_from([EntryFlag(0), EntryFlag.HIDDEN]),
    **common,
)
files = st.builds(
    Entry,
    mode=permissions.map(stat.S_IFREG.__or__),
    size=st.integers(0, 2**50),
    digest=digests,
    compression=st.sampled_from(Compression),
    extra_flags=st.sampled_from([EntryFlag(0), EntryFlag.EXTERNAL, EntryFlag.DIRECT_IO]),
    **common,
)
symlinks = st.builds(
    Entry,
    mode=st.just(stat.S_IFLNK | 0o777),
    size=st.integers(0, 99),
    symlink=st.one_of(file_names, st.just("$(ARCH:-x86_64)/lib")),
    **common,
)
specials = st.builds(
    Entry, mode=st.sampled_from([stat.S_IFIFO | 0o600, stat.S_IFSOCK | 0o666]), size=st.just(0), **common
) | st.builds(
    Entry, mode=st.sampled_from([stat.S_IFCHR | 0o600, stat.S_IFBLK | 0o666]), size=st.integers(0, 2**40), **common
)
contents = st.one_of(files, chunked_files(), symlinks, specials)
entries = st.one_of(directories, contents)

names = st.sampled_from(["a", "b", "ab", "a%", "\udcff", "é", "a b"])
"""Few, so that edits meet each other."""


def shown_with_links(view: dict[str, Entry]) -> dict[str, tuple[Entry, frozenset[str]]]:
    """Entries without group numbers, which are a catalog's own, but with the paths that share the group."""
    groups: dict[tuple[str, int], set[str]] = {}
    for path, entry in view.items():
        if entry.hardlink_group:
            groups.setdefault((parent_path(path), entry.hardlink_group), set()).add(path)
    return {
        path: (
            replace(entry, hardlink_group=0, extra_flags=entry.extra_flags & ~STRUCTURE),
            frozenset(groups.get((parent_path(path), entry.hardlink_group), {path})),
        )
        for path, entry in view.items()
    }


class Catalogs(RuleBasedStateMachine):
    """A tree in several catalogs, and the same tree in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.catalogs = {"": Catalog.new("", DIRECTORY)}
        self.stored: dict[Digest, Counters] = {}
        self.model: dict[str, Entry] = {"": DIRECTORY}
        self.groups = 0

    def teardown(self) -> None:
        self.store_and_open_again()
        for catalog in self.catalogs.values():
            catalog.close()

    # Edits

    @initialize(top=directories)
    def begin(self, top: Entry) -> None:
        self.catalogs[""].set_root(top)
        self.model[""] = top

    @rule(data=st.data(), name=names, entry=entries)
    def put(self, data: st.DataObject, name: str, entry: Entry) -> None:
        path = f"{self.some_directory(data)}/{name}"
        if path in self.catalogs and entry.is_directory:
            self.catalogs[path].set_root(entry)
        elif not entry.is_directory and self.is_in_use(path):
            with pytest.raises(CatalogError):
                self.holder(parent_path(path)).put(path, entry)
            return
        else:
            self.holder(parent_path(path)).put(path, entry)
        self.model[path] = entry

    @rule(data=st.data(), batch=st.dictionaries(st.tuples(names, names), contents, max_size=6), order=st.randoms())
    def put_many(self, data: st.DataObject, batch: dict[tuple[str, str], Entry], order) -> None:
        top = self.some_directory(data)
        wanted: dict[str, Entry] = {}
        for (directory, name), entry in batch.items():
            if f"{top}/{directory}" not in self.catalogs:
                wanted[f"{top}/{directory}"] = DIRECTORY
                wanted[f"{top}/{directory}/{name}"] = entry
        if any(not entry.is_directory and self.is_in_use(path) for path, entry in wanted.items()):
            return
        shuffled = list(wanted.items())
        order.shuffle(shuffled)
        self.holder(top).put_all(shuffled)
        self.model |= wanted

    @rule(data=st.data(), linked=st.sets(names, min_size=2, max_size=3), entry=files | chunked_files())
    def put_hard_links(self, data: st.DataObject, linked: set[str], entry: Entry) -> None:
        top = self.some_directory(data)
        paths = [f"{top}/{name}" for name in sorted(linked)]
        if any(self.is_in_use(path) for path in paths):
            return
        group = self.holder(top).new_hardlink_group()
        self.holder(top).put_all((path, replace(entry, hardlink_group=group, linkcount=len(paths))) for path in paths)
        self.groups += 1
        self.model |= {path: replace(entry, hardlink_group=self.groups) for path in paths}

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        path = self.some_path(data)
        if not path or self.is_in_use(path):
            with pytest.raises(CatalogError):
                self.holder(parent_path(path) if path else "").remove(path)
            return
        self.holder(parent_path(path)).remove(path)
        del self.model[path]

    @rule(data=st.data())
    def remove_tree(self, data: st.DataObject) -> None:
        path = self.some_path(data)
        if not path:
            return
        self.holder(parent_path(path)).remove_tree(path)
        for gone in [at for at in self.catalogs if at == path or at.startswith(path + "/")]:
            self.catalogs.pop(gone).close()
        for gone in [at for at in self.model if at == path or at.startswith(path + "/")]:
            del self.model[gone]

    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        path = self.some_directory(data)
        if path in self.catalogs:
            return
        parent = self.holder(path)
        parent.put(f"{path}/{MARKER_NAME}", MARKER)
        self.catalogs[path] = parent.split(path)
        self.model[f"{path}/{MARKER_NAME}"] = MARKER

    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(self.catalogs)))
        if not path:
            return
        self.holder(parent_path(path)).merge(self.catalogs[path])
        self.catalogs.pop(path).close()
        del self.model[f"{path}/{MARKER_NAME}"]

    @rule()
    def store_and_open_again(self) -> None:
        for path in sorted(self.catalogs, key=len, reverse=True):
            catalog = self.catalogs[path]
            blob = catalog.to_bytes()
            assert catalog.check() == []
            digest = HashAlgorithm.SHA1.digest(blob)
            self.stored[digest] = catalog.total_counters
            children = [self.catalogs[at].total_counters for at in catalog.nested()]
            assert catalog.subtree_counters == sum(children, Counters())
            again = Catalog.from_bytes(blob, counters_of=self.counters_of)
            assert list(again.walk()) == list(catalog.walk())
            assert (again.self_counters, again.subtree_counters) == (catalog.self_counters, catalog.subtree_counters)
            assert again.nested() == catalog.nested()
            assert again.to_bytes() == blob
            catalog.close()
            self.catalogs[path] = again
            if path:
                self.holder(parent_path(path)).set_nested(path, digest, len(blob), again.total_counters, again.root)

    # What always holds

    @invariant()
    def the_catalogs_show_what_the_dictionary_has(self) -> None:
        shown: dict[str, Entry] = {}
        for path in sorted(self.catalogs, key=len):
            shown |= dict(self.catalogs[path].walk())
        subdirectories: dict[str, int] = {}
        for path, entry in self.model.items():
            if path and entry.is_directory:
                subdirectories[parent_path(path)] = subdirectories.get(parent_path(path), 0) + 1
        expected = {
            path: (
                replace(entry, linkcount=2 + subdirectories.get(path, 0) if entry.is_directory else len(linked)),
                linked,
            )
            for path, (entry, linked) in shown_with_links(self.model).items()
        }
        assert shown_with_links(shown) == expected

    @invariant()
    def the_counters_are_what_counting_yields(self) -> None:
        for catalog in self.catalogs.values():
            assert catalog.self_counters == catalog.recount() + Counters(nested=len(catalog.nested()))
            assert catalog.entry_count == len(list(catalog.walk()))

    # Helpers

    def some_path(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(path for path in self.model if not path.endswith(MARKER_NAME))))

    def some_directory(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(path for path, entry in self.model.items() if entry.is_directory)))

    def holder(self, path: str) -> Catalog:
        """The catalog that holds what is in the directory at `path`."""
        while path not in self.catalogs:
            path = parent_path(path)
        return self.catalogs[path]

    def is_in_use(self, path: str) -> bool:
        """Whether a directory is at `path` that something is in."""
        return path in self.catalogs or any(parent_path(at) == path for at in self.model if at)

    def counters_of(self, reference: NestedReference) -> Counters:
        return self.stored[reference.digest]


Catalogs.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestCatalogs = Catalogs.TestCase

trees = st.dictionaries(st.lists(names, min_size=1, max_size=4).map(tuple), entries, max_size=25)


def catalog_of(tree: dict[tuple[str, ...], Entry]) -> Catalog:
    """A catalog with these entries, where something is in the way directories instead."""
    wanted: dict[str, Entry] = {}
    for components, entry in tree.items():
        wanted.setdefault("".join(f"/{name}" for name in components), entry)
        for depth in range(1, len(components)):
            directory = "".join(f"/{name}" for name in components[:depth])
            if not wanted.get(directory, MARKER).is_directory:
                wanted[directory] = DIRECTORY
    catalog = Catalog.new("", DIRECTORY)
    catalog.put_all(wanted.items())
    return catalog


@settings(deadline=None)
@given(tree=trees, data=st.data())
def test_splitting_and_merging_is_the_identity(tree: dict[tuple[str, ...], Entry], data: st.DataObject) -> None:
    with catalog_of(tree) as catalog:
        directories_in_it = [path for path, entry in catalog.walk() if path and entry.is_directory]
        before, counters = dict(catalog.walk()), catalog.self_counters
        if not directories_in_it:
            return
        path = data.draw(st.sampled_from(directories_in_it))
        catalog.put(f"{path}/{MARKER_NAME}", MARKER)
        with catalog.split(path) as child:
            assert child.check() == []
            twice = Counters.of(before[path])  # the mount point and the nested root
            assert child.self_counters + catalog.self_counters == counters + twice + Counters(nested=1, regular=1)
            catalog.merge(child)
        assert dict(catalog.walk()) == before
        assert (catalog.self_counters, catalog.subtree_counters) == (counters, Counters())
        assert catalog.check() == []


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_a_damaged_catalog_raises_nothing_but_catalog_errors(data: st.DataObject) -> None:
    blob = bytearray(BLOB)
    for _ in range(data.draw(st.integers(1, 8))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    try:
        with Catalog.from_bytes(bytes(blob)) as catalog:
            catalog.check()
            for path, _ in catalog.walk():
                catalog.lookup(path)
            catalog.put("/new", MARKER)
            catalog.remove_tree("/a")
            catalog.to_bytes()
    except CatalogError:
        pass


def _some_catalog() -> bytes:
    catalog = Catalog.new("", DIRECTORY)
    chunk = Chunk(0, 5, MARKER.digest)
    catalog.put_all(
        [
            ("/a", DIRECTORY),
            ("/a/file", replace(MARKER, xattrs={"user.a": b"b"})),
            ("/a/chunked", replace(MARKER, size=5, digest=None, chunks=(chunk,))),
            ("/link", Entry.link("a/file", mtime=1)),
        ]
    )
    catalog.set_nested("/nested", MARKER.digest, 1, Counters(dir=1), DIRECTORY)
    return catalog.to_bytes()


BLOB = _some_catalog()
