"""Repositories written by the official tools, read by us and compared with what the official client shows."""

from __future__ import annotations

import hashlib
import re

import pytest

from functions.cvmfs.catalog import Catalog
from functions.cvmfs.checker import check_repository
from functions.cvmfs.entry import MARKER_NAME
from functions.cvmfs.reader import Repository, Snapshot
from tests.golden import GOLDEN, NOW, TAGS, GoldenRepository, golden

SHOWN_BY_THE_CLIENT = "x86_64"
"""The value of $(CVMFS_ARCH) where the listings were made."""


def opened(repository: GoldenRepository) -> Repository:
    return Repository.open(repository.fetch, public_keys=[repository.public_key], fqrn=repository.fqrn, now=NOW)


def expanded(target: str) -> str:
    return re.sub(r"\$\(CVMFS_ARCH\)", SHOWN_BY_THE_CLIENT, target)


def as_the_client_shows_it(snapshot: Snapshot) -> list[dict]:
    shown = []
    for path, entry in snapshot.walk():
        if not path:
            continue
        line = {
            "path": path,
            "mode": f"0o{entry.mode:o}",
            "size": entry.size if entry.is_regular else None,
            "mtime": entry.mtime,
            "uid": entry.uid,
            "gid": entry.gid,
            "nlink": entry.linkcount,
        }
        if entry.is_regular:
            line["sha256"] = hashlib.sha256(snapshot.read(path)).hexdigest()
        if entry.is_symlink:
            line["target"] = expanded(entry.symlink)
        if entry.xattrs:
            line["xattrs"] = {name: value.decode() for name, value in entry.xattrs.items()}
        shown.append(line)
    return sorted(shown, key=lambda line: line["path"])


@pytest.mark.parametrize("tag", TAGS)
@pytest.mark.parametrize("name", GOLDEN)
def test_every_path_is_read_as_the_official_client_shows_it(name: str, tag: str) -> None:
    repository = golden(name)
    listing = sorted(repository.listing(tag), key=lambda line: line["path"])
    assert as_the_client_shows_it(opened(repository).snapshot(tag)) == listing


@pytest.mark.parametrize("data", [pytest.param(False, id="existence"), pytest.param(True, id="content")])
@pytest.mark.parametrize("name", GOLDEN)
def test_the_checker_finds_nothing_in_any_tree_of_an_official_repository(name: str, data: bool) -> None:
    repository = golden(name)
    report = check_repository(
        repository.fetch,
        exists=repository.exists,
        public_keys=[repository.public_key],
        fqrn=repository.fqrn,
        now=NOW,
        data=data,
        all_tags=True,
    )
    assert report.findings == ()
    assert report.counts.catalogs > len(TAGS)
    assert report.counts.objects > 0
    assert bool(report.counts.bytes) is data


@pytest.mark.parametrize("name", GOLDEN)
def test_official_catalogs_come_out_of_an_edit_as_official_tools_write_them(name: str) -> None:
    snapshot = opened(golden(name)).snapshot()
    for _, digest, catalog in snapshot.catalogs():
        blob = catalog.to_bytes()
        with Catalog.from_bytes(blob) as again:
            assert list(again.walk()) == list(catalog.walk()), digest
            assert again.check() == []
        with Catalog.new(catalog.path, catalog.root) as fresh:
            assert table_layout(fresh) == table_layout(catalog)
            assert fresh.to_bytes()[16:20] == blob[16:20], "page size and journal format"


def table_layout(catalog: Catalog) -> list[tuple]:
    names = catalog.query("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    return [
        (name, *catalog.query('SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)', (name,)))
        for (name,) in names
    ]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_mount_point_is_shown_once_and_its_marker_lies_in_the_nested_catalog(name: str) -> None:
    snapshot = opened(golden(name)).snapshot("v1")
    paths = [path for path, _ in snapshot.walk()]
    mounts = [path for path, _, _ in snapshot.catalogs() if path]
    assert mounts
    assert len(paths) == len(set(paths))
    for mount in mounts:
        entry = snapshot.lookup(mount)
        assert entry is not None
        assert entry.is_nested_root
        assert MARKER_NAME in dict(snapshot.listing(mount))
