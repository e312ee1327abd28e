"""Whatever is on a disk: the verifying reader sees exactly that, after every publish of a tree that keeps changing."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from functions.adapters.file_tree import FileTree, TreeAspects
from functions.cvmfs.entry import Entry, decode_text, encode_text, parent_path
from functions.publishing.dirtab import Dirtab
from functions.publishing.nesting import CatalogWeights
from tests.local_trees import PaperRepository

NAMES = [
    b"a",
    b"b",
    b"lib",
    b".git",
    b"\xff\xfe",
    "é".encode(),
    b"new\nline",
    b"-",
    b"x" * 255,
    b"$(x)",
    b".cvmfscatalog",
]
RULES = [b"/*\n", b"/*/*\n! */.git\n", b"/a*/b\n/lib\n", b"not absolute\n", b""]
TINY = CatalogWeights(most=8, balanced=5, least=2)

Step = Callable[[Path, st.DataObject], None]


def some_path(top: Path, data: st.DataObject, *, folders: bool = False) -> Path:
    """A path that is there, the top among them."""
    found = [top, *sorted(path for path in top.rglob("*") if not folders or (path.is_dir() and not path.is_symlink()))]
    return data.draw(st.sampled_from(found))


def new_path(top: Path, data: st.DataObject) -> Path | None:
    """A name that is free, in a directory that is there."""
    name = data.draw(st.sampled_from(NAMES))
    folder = some_path(top, data, folders=True)
    path = folder / os.fsdecode(name)
    return None if os.path.lexists(path) or (name == b".cvmfscatalog" and folder == top) else path


def add_file(top: Path, data: st.DataObject) -> None:
    path = new_path(top, data)
    if path is not None:
        path.write_bytes(
            data.draw(st.one_of(st.just(b""), st.binary(max_size=8), st.binary(min_size=200, max_size=400)))
        )
        path.chmod(data.draw(st.sampled_from([0o644, 0o755, 0o4755, 0o600])))
        os.utime(path, ns=(1, data.draw(st.integers(0, 2**61))))


def add_folder(top: Path, data: st.DataObject) -> None:
    path = new_path(top, data)
    if path is not None and path.name != ".cvmfscatalog":
        path.mkdir(data.draw(st.sampled_from([0o755, 0o700, 0o1777])))


def add_many(top: Path, data: st.DataObject) -> None:
    folder = some_path(top, data, folders=True)
    for number in range(data.draw(st.integers(5, 10))):
        (folder / f"many{number}").write_bytes(b"%d" % (number % 3))


def add_symlink(top: Path, data: st.DataObject) -> None:
    path = new_path(top, data)
    if path is not None and path.name != ".cvmfscatalog":
        os.symlink(  # noqa: PTH211  # Path would tidy the target up
            data.draw(st.sampled_from([b"a", b"../a", b"/etc", b"\xff", b"far/" * 900, b"$(HOME)/a"])),
            encode_text(str(path)),
        )


def add_hard_link(top: Path, data: st.DataObject) -> None:
    old, path = some_path(top, data), new_path(top, data)
    if path is not None and path.name != ".cvmfscatalog" and not stat.S_ISDIR(old.lstat().st_mode):
        os.link(old, path, follow_symlinks=False)


def add_pipe(top: Path, data: st.DataObject) -> None:
    path = new_path(top, data)
    if path is not None and path.name != ".cvmfscatalog":
        os.mkfifo(path)


def write(top: Path, data: st.DataObject) -> None:
    path = some_path(top, data)
    if stat.S_ISREG(path.lstat().st_mode):
        with path.open("ab") as file:
            file.write(b"more")


def change_mode(top: Path, data: st.DataObject) -> None:
    path = some_path(top, data)
    if path != top and not path.is_symlink():
        path.chmod(data.draw(st.sampled_from([0o700, 0o711, 0o2755])))


def mark_attribute(top: Path, data: st.DataObject) -> None:
    path = some_path(top, data)
    name, value = data.draw(st.sampled_from(["user.a", "user.b"])), data.draw(st.binary(max_size=4))
    # Not every file system keeps attributes.
    with suppress(OSError):
        os.setxattr(path, name, value, follow_symlinks=False)


def move(top: Path, data: st.DataObject) -> None:
    old, path = some_path(top, data), new_path(top, data)
    if path is not None and old != top and path.name != ".cvmfscatalog" and old not in path.parents:
        old.rename(path)


def remove(top: Path, data: st.DataObject) -> None:
    path = some_path(top, data)
    if path == top:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def set_rules(top: Path, data: st.DataObject) -> None:
    (top / ".cvmfsdirtab").write_bytes(data.draw(st.sampled_from(RULES)))


STEPS: list[Step] = [
    *(add_file, add_folder, add_many, add_symlink, add_hard_link, add_hard_link, add_pipe),
    *(write, change_mode, mark_attribute, move, remove, set_rules),
]


def on_disk(top: Path) -> dict[str, tuple[object, ...]]:
    """What there is, as the file system tells it."""
    found = {}
    for path in top.rglob("*"):
        seen = path.lstat()
        attributes: dict[str, bytes] = {}
        if stat.S_IFMT(seen.st_mode) in {stat.S_IFREG, stat.S_IFDIR}:
            attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        found[str(path).removeprefix(str(top))] = (
            seen.st_mode,
            seen.st_mtime_ns,
            (seen.st_uid, seen.st_gid),
            os.readlink(path) if path.is_symlink() else "",  # noqa: PTH115
            path.read_bytes() if stat.S_ISREG(seen.st_mode) else None,
            attributes,
        )
    return found


def links_on_disk(top: Path) -> set[frozenset[str]]:
    """The names of each file that has several in one directory."""
    groups: dict[tuple[str, int], set[str]] = {}
    for path in top.rglob("*"):
        seen = path.lstat()
        if not stat.S_ISDIR(seen.st_mode):
            groups.setdefault((str(path.parent), seen.st_ino), set()).add(str(path).removeprefix(str(top)))
    return {frozenset(names) for names in groups.values() if len(names) > 1}


def seen_by_the_reader(repository: PaperRepository, local: set[str]) -> tuple[dict, set[frozenset[str]], set[str]]:
    """The tree, its hard links and its nested catalogs; markers that the publisher made are left out."""
    snapshot = repository.reader().snapshot()
    found, groups, mounts = {}, {}, set()
    entries: list[tuple[str, Entry]] = [(path, entry) for path, entry in snapshot.walk() if path]
    for path, entry in entries:
        if entry.is_nested_root:
            mounts.add(path)
        if path.rpartition("/")[2] in {".cvmfscatalog", ".cvmfsautocatalog"} and path not in local:
            continue
        if entry.hardlink_group:
            groups.setdefault((parent_path(path), entry.hardlink_group), set()).add(path)
        found[path] = (
            entry.mode,
            entry.mtime * 10**9 + (entry.mtime_ns or 0),
            (entry.uid, entry.gid),
            entry.symlink,
            snapshot.read(path) if entry.is_regular else None,
            dict(entry.xattrs),
        )
    return found, {frozenset(names) for names in groups.values() if len(names) > 1}, mounts


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_the_reader_sees_what_is_on_disk_after_every_publish(data):
    repository = PaperRepository(weights=TINY)
    with TemporaryDirectory() as home:
        top = Path(home) / "tree"
        top.mkdir()
        for _ in range(data.draw(st.integers(1, 3))):
            for step in data.draw(st.lists(st.sampled_from(STEPS), min_size=1, max_size=12)):
                step(top, data)
            repository.publish(FileTree(top, TreeAspects(xattrs=True)))
            local = on_disk(top)
            shown, groups, mounts = seen_by_the_reader(repository, set(local))
            assert shown == local
            assert groups == links_on_disk(top)
            assert mounts >= catalogs_wanted(top, local)
            assert repository.findings() == []
        again, _ = repository.publish(FileTree(top, TreeAspects(xattrs=True)))
        assert not again.changed


def catalogs_wanted(top: Path, local: dict[str, tuple[object, ...]]) -> set[str]:
    """Where markers and rules want catalogs."""
    marked = {parent_path(path) for path in local if path.endswith("/.cvmfscatalog")}
    rules = top / ".cvmfsdirtab"
    dirtab = Dirtab.parse(rules.read_bytes() if rules.is_file() else b"")
    folders = {path for path, (mode, *_) in local.items() if stat.S_ISDIR(int(str(mode)))}
    return marked | {path for path in folders if dirtab.matches(path)}


def test_the_names_here_are_bytes_that_python_keeps():
    assert [encode_text(decode_text(name)) for name in NAMES] == NAMES
