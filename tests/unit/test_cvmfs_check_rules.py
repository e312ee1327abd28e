"""The checker says everything that the official one says, and can be told how much to look at."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.cvmfs.address import Address, Kind
from functions.cvmfs.checker import Scope, Severity
from functions.cvmfs.counters import COUNTER_NAMES
from functions.cvmfs.history import Branch, History, Tag
from functions.cvmfs.scrub import scrub
from tests.small_repository import FQRN, PUBLISHED_AT, SmallRepository
from tests.unit.test_cvmfs_checker import (
    AFTER_SEALING,
    BEFORE_SEALING,
    IN_THE_DATA,
    MISSING,
    Damage,
    assert_found,
    checked,
    counter,
    entry,
    flip,
    planted,
)

OFFICIAL_RULES = {
    # In swissknife_check.cc, the function Main
    "repository name and signature": ("manifest: another repository", "manifest: another key"),
    "whitelist": ("whitelist: another master key", "whitelist: certificate not listed"),
    "root catalog and its size": ("root catalog missing", "manifest: B is not the root catalog's size"),
    "metainfo loadable": ("metainfo missing",),
    "reflog checksum": ("a reflog that is not the manifest's",),
    # its InspectReflog
    "reflog lists what is current": (
        "reflog: without the root catalog",
        "reflog: without the certificate",
        "reflog: without the tag database",
        "reflog: without the metainfo",
    ),
    # its InspectHistory
    "tag database loadable": ("tag database missing",),
    "branches": (
        "tags: a branch of a bad name",
        "tags: none, so a dangling branch",
        "tags: a branch that does not exist",
        "tags: older than its branch",
    ),
    # its Find
    "names": ("a NULL name", "an empty name"),
    "zero hash": ("an empty file without hash",),
    "link count of files": ("no links", "links without a group"),
    "hard-link groups": (
        "a link group with a member missing",
        "different links of one file",
        "a link group across directories",
    ),
    "directories": ("link count of a directory", "a directory in a link group", "a directory with hash"),
    "symlinks": ("a link with hash",),
    "special files": ("a fifo of some size", "a fifo with a hash", "a fifo with a target"),
    "external files": ("an external symlink",),
    "direct I/O": ("direct I/O on a directory",),
    "chunks": ("no chunks", "a chunk gap", "chunks overlap", "chunks of another sum"),
    "objects exist": ("a file's object missing", "a chunk's object missing"),
    "markers": ("no marker", "an abandoned marker", "a marker in the root directory"),
    # its InspectTree and CompareEntries
    "catalogs load": ("a nested catalog missing", "a catalog rotten", "no counter"),
    "root prefix": ("no root prefix", "a root prefix in the root catalog"),
    "size of nested catalogs": ("a wrong size",),
    "root entries": (
        "no root entry",
        "a root that is a file",
        "a nested root not flagged",
        "the root flagged as nested root",
    ),
    "mount points have references": (
        "a mount point without reference",
        "a reference without mount point",
        "a bind mount without reference",
        "a reference in both tables",
    ),
    "nothing below a mount point": ("a row left by a split",),
    "mount points equal root entries": (
        "mount point: link count",
        "mount point: link group",
        "mount point: time",
        "mount point: nanoseconds",
        "mount point: mode",
        "mount point: size",
        "mount point: attributes",
        "mount point: hash",
    ),
    "dangling entries": ("a row nobody can reach",),
    # its CompareCounters
    "counters": ("counter self_dir", "counter of the subtree", "counter of a nested subtree"),
    # and swissknife_scrub.cc
    "content": ("an object rotten", "a chunk rotten", "certificate rotten", "tag database rotten"),
}
"""What ``cvmfs_swissknife check`` and ``scrub`` look at, and the planted faults that show that ours does."""


def tag_on(branch: Branch | None, revision: int) -> Damage:
    """A tag on a branch that is not there, or begins later."""

    def damage(small: SmallRepository) -> None:
        branches = [Branch(), *([] if branch is None else [branch])]
        small.history = History(FQRN, [Tag("t", MISSING, 0, revision, PUBLISHED_AT, branch="side")], branches, {})

    return damage


MORE = [
    pytest.param(tag_on(None, 1), "H", "which does not exist", id="tags: a branch that does not exist"),
    pytest.param(tag_on(Branch("side", "", 9), 1), "H", "older than its branch", id="tags: older than its branch"),
    pytest.param(planted("", entry("README", "name = ''")), "/", "''", id="an empty name"),
    pytest.param(
        planted("", entry("fifo", f"hash = X'{MISSING.raw.hex()}'")), "/fifo", "a hash", id="a fifo with a hash"
    ),
    pytest.param(
        planted("", entry("pkg", "hardlinks = (1 << 32) | 4")), "/pkg", "hardlink_group", id="mount point: link group"
    ),
    pytest.param(planted("", entry("pkg", "mtimens = 7")), "/pkg", "mtime_ns", id="mount point: nanoseconds"),
    pytest.param(
        planted("", entry("pkg", f"hash = X'{MISSING.raw.hex()}'")), "/pkg", "differ in digest", id="mount point: hash"
    ),
]

CASES = {case.id: case.values for case in (*BEFORE_SEALING, *AFTER_SEALING, *IN_THE_DATA, *MORE)}


@pytest.mark.parametrize(("damage", "where", "what"), MORE)
def test_a_fault_that_was_published_is_found(damage: Damage, where: str, what: str) -> None:
    small = SmallRepository()
    damage(small)
    assert_found(checked(small.sealed()), where, what)


def test_every_rule_of_the_official_check_has_a_fault_that_shows_it() -> None:
    shown = {name for names in OFFICIAL_RULES.values() for name in names}
    assert shown <= CASES.keys(), shown - CASES.keys()


@pytest.mark.parametrize("rule", [rule for rule in OFFICIAL_RULES if rule != "content"])
def test_what_the_official_check_refuses_is_an_error_and_no_warning(rule: str) -> None:
    for name in OFFICIAL_RULES[rule]:
        damage, _, what = CASES[name]
        small = SmallRepository()
        if any(case.id == name for case in AFTER_SEALING):
            damage(small.sealed())
        else:
            damage(small)
            small.sealed()
        found = [finding.severity for finding in checked(small).findings if what in finding.what]
        assert Severity.ERROR in found, name


@pytest.mark.parametrize("catalog", ["", "/pkg"])
@pytest.mark.parametrize("prefix", ["self", "subtree"])
@pytest.mark.parametrize("name", COUNTER_NAMES)
def test_every_counter_counts(name: str, prefix: str, catalog: str) -> None:
    small = SmallRepository()
    small.plant(catalog, counter(f"{prefix}_{name}"))
    (finding,) = checked(small.sealed()).findings
    assert (finding.where, finding.severity) == (catalog or "/", Severity.ERROR)
    assert f"counter {prefix}_{name} is" in finding.what


def test_a_bound_catalog_that_is_gone_is_a_warning() -> None:
    small = SmallRepository()
    small.plant(
        "",
        entry("bin", "flags = 16385"),
        entry("tool", "parent_1 = 7"),
        f"INSERT INTO bind_mountpoints VALUES ('/bin', '{MISSING}', 0)",
    )
    assert_found(checked(small.sealed()), "/bin", "the bound root catalog")


# How much is looked at


def two_revisions() -> SmallRepository:
    """A sound newest revision, and a tag ``old`` on one with a wrong link count at ``/bin``."""
    small = SmallRepository()
    small.plant("", entry("bin", "hardlinks = 9"))
    old = small.sealed().manifest.root
    small.plant("", entry("bin", "hardlinks = 2"), "UPDATE properties SET value = '4' WHERE key = 'revision'")
    small.manifest_changes["revision"] = 4
    root = small.sealed().manifest
    small.history = History.new(FQRN)
    small.history.publish(root.root, root.root_size, 4, PUBLISHED_AT)
    small.history.add(Tag("old", old, 0, 3, PUBLISHED_AT))
    small.planted.clear()
    return small.sealed()


def test_the_tree_of_one_tag_can_be_checked_instead_of_the_newest() -> None:
    small = two_revisions()
    assert checked(small, all_tags=False).ok
    report = checked(small, scope=Scope(tag="old"))
    assert_found(report, "/bin", "link count 9")
    assert report.counts.catalogs == 3
    assert_found(checked(small, scope=Scope(tag="new")), Address(small.manifest.history, Kind.HISTORY).path, "'new'")


def test_a_check_can_begin_at_a_nested_catalog() -> None:
    small = two_revisions()
    for tag in (None, "old"):
        report = checked(small, scope=Scope(tag=tag, subtree="/pkg"))
        assert report.findings == (), "what is wrong above is not looked at"
        assert report.counts.catalogs == 2
    report = checked(small, scope=Scope(subtree="/pkg/deep"))
    assert (report.findings, report.counts.catalogs) == ((), 1)
    for elsewhere in ("/bin", "/pkg/lib", "/nowhere"):
        assert_found(checked(small, scope=Scope(subtree=elsewhere)), elsewhere, "no nested catalog")


def test_faults_below_are_found_from_a_nested_catalog_on_too() -> None:
    small = SmallRepository()
    small.plant("/pkg/deep", counter("self_dir"))
    small.plant("/pkg", entry("deep", "mtime = 1"))
    report = checked(small.sealed(), scope=Scope(subtree="/pkg"))
    assert_found(report, "/pkg/deep", "self_dir")
    assert_found(report, "/pkg/deep", "differ in mtime")
    del small.files[small.catalog_path("/pkg")]
    assert_found(checked(small, scope=Scope(subtree="/pkg/deep")), "C", "does not exist")


def test_objects_can_be_left_out() -> None:
    small = SmallRepository().sealed()
    del small.files[small.object_path("/README")]
    assert not checked(small).ok
    report = checked(small, scope=Scope(objects=False))
    assert report.ok
    assert report.counts.objects == 0
    del small.files[small.catalog_path("/pkg/deep")]
    assert not checked(small, scope=Scope(objects=False)).ok, "catalogs are always read"


# Scrubbing


def test_a_scrub_finds_nothing_in_a_healthy_store() -> None:
    small = SmallRepository().sealed()
    objects = [path for path in small.files if path.startswith("data/")]
    seen: list[int] = []
    with ThreadPoolExecutor(2) as executor:
        outcome = scrub(objects, small.fetch, executor=executor, progress=seen.append)
    assert outcome.findings == ()
    assert outcome.ok
    assert outcome.objects == len(objects) == seen[-1]
    assert outcome.bytes == sum(len(small.files[path]) for path in objects)


def strange(path: str, body: bytes = b"") -> Damage:
    return lambda small: small.files.update({path: body})


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        pytest.param(flip(lambda s: s.object_path("/README")), "data/", "hash to", id="an object rotten"),
        pytest.param(flip(lambda s: s.catalog_path("/pkg")), "C", "hash to", id="a catalog rotten"),
        pytest.param(
            strange(f"data/aa/{'a' * 38}", b"nobody refers to this"),
            "data/",
            "hash to",
            id="rotten, and not referred to",
        ),
        pytest.param(strange(f"data/aa/{'a' * 38}Q"), "data/", "", id="an unknown type letter"),
        pytest.param(strange(f"data/aa/{'A' * 38}"), "data/", "", id="capitals"),
        pytest.param(strange(f"data/aa/b/{'a' * 37}"), "data/", "", id="a folder too deep"),
        pytest.param(strange(f"data/aaa/{'a' * 37}"), "data/", "", id="a folder of three letters"),
        pytest.param(strange("data/aa/.tmp.1234"), "data/", "", id="something left over"),
        pytest.param(strange("data/txn/5XkI2p"), "data/", "did not end", id="something in the staging folder"),
    ],
)
def test_a_scrub_finds_wrong_bytes_and_wrong_names(damage: Damage, where: str, what: str) -> None:
    small = SmallRepository().sealed()
    damage(small)
    (finding,) = scrub([path for path in small.files if path.startswith("data/")], small.fetch).findings
    assert where in finding.where
    assert what in finding.what


def test_what_disappears_during_a_scrub_is_no_fault() -> None:
    small = SmallRepository().sealed()
    objects = [path for path in small.files if path.startswith("data/")]
    del small.files[objects[0]]
    outcome = scrub(objects, small.fetch)
    assert (outcome.findings, outcome.objects) == ((), len(objects) - 1)
