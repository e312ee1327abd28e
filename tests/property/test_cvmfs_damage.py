"""No damage goes unseen: whatever happens to whatever stored file, the checker says so and does not stumble."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cvmfs.checker import Report, check_repository
from functions.cvmfs.errors import FormatError
from functions.cvmfs.reader import Repository
from tests.small_repository import FQRN, NOW, SmallRepository


@cache
def healthy() -> SmallRepository:
    return SmallRepository().sealed()


def check(files: dict[str, bytes]) -> Report:
    return check_repository(
        files.get, exists=files.__contains__, public_keys=healthy().public_keys, fqrn=FQRN, now=NOW, data=True
    )


def read_all(files: dict[str, bytes]) -> dict[str, bytes]:
    repository = Repository.open(files.get, public_keys=healthy().public_keys, fqrn=FQRN, now=NOW)
    tree = repository.snapshot()
    return {path: tree.read(path) for path, entry in tree.walk() if entry.is_regular and not entry.is_external}


paths = st.sampled_from(sorted(healthy().files))


def flipped(body: bytes, position: int, bit: int) -> bytes:
    changed = bytearray(body)
    changed[position] ^= 1 << bit
    return bytes(changed)


@settings(deadline=None, max_examples=150)
@given(path=paths, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found(path: str, where: float, bit: int) -> None:
    body = healthy().files[path]
    files = healthy().files | {path: flipped(body, int(where * len(body)), bit)}
    assert not check(files).ok


@settings(deadline=None, max_examples=60)
@given(path=paths, body=st.one_of(st.binary(max_size=200), st.none()))
def test_a_file_that_is_gone_or_something_else_is_found(path: str, body: bytes | None) -> None:
    files = {name: content for name, content in healthy().files.items() if name != path}
    if body is not None:
        files[path] = body
    assert check(files).findings


@settings(deadline=None, max_examples=60)
@given(path=paths, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_reader_shows_the_right_bytes_or_nothing(path: str, where: float, bit: int) -> None:
    body = healthy().files[path]
    files = healthy().files | {path: flipped(body, int(where * len(body)), bit)}
    try:
        shown = read_all(files)
    except FormatError:
        return
    assert shown == read_all(healthy().files)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_catalog_with_any_cell_changed_is_checked_without_stumbling(data: st.DataObject) -> None:
    table, columns = data.draw(
        st.sampled_from(
            [
                (
                    "catalog",
                    "md5path_1 parent_1 hardlinks hash size mode mtime mtimens flags name symlink uid gid xattr",
                ),
                ("chunks", "md5path_1 offset size hash"),
                ("nested_catalogs", "path sha1 size"),
                ("properties", "key value"),
                ("statistics", "counter value"),
            ]
        )
    )
    column = data.draw(st.sampled_from(columns.split()))
    value = data.draw(
        st.sampled_from(["NULL", "''", "'x'", "X''", "X'00ff'", "-1", "0", "9223372036854775807", "1.5", "'/'", "'..'"])
    )
    mount = data.draw(st.sampled_from(["", "/pkg", "/pkg/deep"]))
    row = data.draw(st.integers(1, 20))
    small = SmallRepository()
    small.plant(mount, f"UPDATE OR IGNORE {table} SET {column} = {value} WHERE rowid = {row}")
    check(small.sealed().files)
