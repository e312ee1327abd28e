"""Nested catalogs where users want them: markers and rules, in local trees and in buckets, beside the balancer."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from datetime import timedelta

import pytest

from events import CollectionRequested
from functions.cvmfs.address import Address, HashAlgorithm, Kind
from functions.cvmfs.checker import check_repository
from functions.handlers.cloud import Cloud
from functions.publishing.commit import marker_entry
from functions.publishing.nesting import CatalogWeights
from tests.archives import member, tar
from tests.local_trees import Node, PaperRepository, PaperTree, folder
from tests.world import World

pytestmark = pytest.mark.usefixtures("alices_repository")

HELLO = Node(content=b"hello\n")
MARK = Node(content=b"")
SMALL = CatalogWeights(most=30, balanced=20, least=6)


def rules(*lines: str) -> Node:
    return Node(content="\n".join(lines).encode())


def all_right(repository: PaperRepository, tree: dict[str, Node], *mounts: str) -> None:
    """The reader sees the tree, catalogs start where they should, and the checker finds nothing."""
    complete = PaperTree(tree).complete()
    del complete[""]
    assert repository.shown() == complete
    assert repository.mounts() == ["", *mounts]
    assert repository.findings() == []


# Local trees


def test_rules_start_catalogs_in_what_is_published_with_them_and_later():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*", "! */.git"), "/sw/a/x": HELLO, "/sw/.git/x": HELLO, "/sw/file": HELLO}
    published, _ = repository.publish(tree)
    all_right(repository, tree, "/sw/a")
    assert published.dirtab.made == ("/sw/a",)
    tree |= {"/sw/b/x": HELLO, "/data/c/x": HELLO}
    repository.publish(tree)
    all_right(repository, tree, "/sw/a", "/sw/b")


def test_rules_that_come_later_apply_to_what_is_there():
    repository = PaperRepository()
    tree = {
        "/sw/a/lib/x": HELLO,
        "/sw/b/lib/x": HELLO,
        "/sw/c": HELLO,
        "/sw/d/.cvmfscatalog": MARK,
        "/sw/d/lib/x": HELLO,
    }
    repository.publish(tree)
    tree["/.cvmfsdirtab"] = rules("/sw/*/lib", "/sw/*")
    repository.publish(tree)
    mounts = ("/sw/a", "/sw/a/lib", "/sw/b", "/sw/b/lib", "/sw/d", "/sw/d/lib")
    all_right(repository, tree, *mounts)
    published, _ = repository.publish(tree)
    assert not published.changed


def test_a_catalog_made_by_a_rule_outlives_the_rule_and_goes_with_its_directory():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*"), "/sw/a/x": HELLO, "/sw/b/x": HELLO}
    repository.publish(tree)
    tree["/.cvmfsdirtab"] = rules("# nothing any more")
    repository.publish(tree)
    all_right(repository, tree, "/sw/a", "/sw/b")
    del tree["/sw/b/x"], tree["/.cvmfsdirtab"]
    repository.publish(tree)
    all_right(repository, tree, "/sw/a")


def test_a_catalog_made_by_a_rule_becomes_the_users_and_ends_with_the_users_marker():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*"), "/sw/a/x": HELLO}
    repository.publish(tree)
    tree |= {"/sw/a/.cvmfscatalog": Node(content=b"mine"), "/.cvmfsdirtab": rules()}
    repository.publish(tree)
    all_right(repository, tree, "/sw/a")
    del tree["/sw/a/.cvmfscatalog"]
    repository.publish(tree)
    all_right(repository, tree)


def test_a_marker_taken_away_where_a_rule_wants_a_catalog_is_made_again():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*"), "/sw/a/x": HELLO}
    repository.publish(tree | {"/sw/a/.cvmfscatalog": MARK})
    repository.publish(tree)
    all_right(repository, tree, "/sw/a")


FAULTY = [
    pytest.param(rules("/sw/*", "sw/b"), "line 2: 'sw/b': only rules with '!'", id="a relative path"),
    pytest.param(Node(content=b"#" * 1001), "it has 1001 bytes, at most 1000 are read", id="far too long"),
    pytest.param(Node(target="elsewhere"), "no regular file", id="a link"),
    pytest.param(folder(), "no regular file", id="a directory"),
]


@pytest.mark.parametrize(("dirtab", "fault"), FAULTY)
def test_a_faulty_dirtab_is_told_and_publishes_all_the_same(dirtab, fault, monkeypatch):
    for module in ("dirtab", "marking"):
        monkeypatch.setattr(f"functions.publishing.{module}.DIRTAB_LIMIT", 1000)
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": dirtab, "/sw/a/x": HELLO}
    published, _ = repository.publish(tree)
    all_right(repository, tree)
    assert fault in " ".join(published.dirtab.remarks)
    if not dirtab.target and dirtab.content is None:
        return
    tree["/.cvmfsdirtab"] = rules("/sw/*")
    published, _ = repository.publish(tree)
    all_right(repository, tree, "/sw/a")
    assert published.dirtab.remarks == []


def test_a_dirtab_that_cannot_be_read_back_is_told_and_stops_nobody():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*"), "/sw/a/x": HELLO}
    repository.publish(tree)
    digest = repository.reader().snapshot().lookup("/.cvmfsdirtab").digest
    repository.store.delete(f"data/{str(digest)[:2]}/{str(digest)[2:]}")
    fresh = PaperRepository()
    object.__setattr__(fresh.publisher, "store", repository.store)
    published, _ = fresh.publish({"/x": HELLO}, "/sw/b")
    assert "cannot be read" in published.dirtab.remarks[0]
    assert published.changed


def test_a_rule_that_leads_nowhere_is_told_once():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*", "/software/*"), "/sw/a/x": HELLO}
    published, _ = repository.publish(tree)
    assert published.dirtab.remarks == ["/.cvmfsdirtab: '/software/*' matches no directory."]
    published, _ = repository.publish(tree | {"/sw/b/x": HELLO})
    assert published.dirtab.remarks == []


def test_a_link_to_a_directory_is_no_directory():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/*", "/link/*"), "/real/deep/x": HELLO, "/link": Node(target="real")}
    repository.publish(tree)
    all_right(repository, tree, "/real")


def test_one_new_file_below_rules_reads_no_catalog_beside_it():
    repository = PaperRepository()
    tree = {"/.cvmfsdirtab": rules("/sw/*", "/sw/*/*")} | {f"/sw/{name}/lib/x": HELLO for name in "abc"}
    repository.publish(tree)
    beside = [
        digest for path, digest, _ in repository.reader().snapshot().catalogs() if path.startswith(("/sw/a", "/sw/c"))
    ]
    for digest in beside:
        repository.store.delete(f"data/{str(digest)[:2]}/{str(digest)[2:]}{Kind.CATALOG.value}")
    fresh = PaperRepository()
    object.__setattr__(fresh.publisher, "store", repository.store)
    published, _ = fresh.publish({"/x": HELLO}, "/sw/b/share")
    assert published.dirtab.made == ("/sw/b/share",)


def test_a_nested_catalog_moves_with_its_directory():
    repository = PaperRepository()
    before = {"/old/.cvmfscatalog": MARK, "/old/deep/.cvmfscatalog": MARK, "/old/deep/x": HELLO, "/old/y": HELLO}
    repository.publish(before)
    after = {path.replace("/old", "/new/place"): node for path, node in before.items()}
    repository.publish(after)
    all_right(repository, after, "/new/place", "/new/place/deep")
    repository.publish(before)
    all_right(repository, before, "/old", "/old/deep")


def test_rules_overrule_the_balancer():
    repository = PaperRepository(weights=SMALL)
    tree = {f"/sw/a/{number}": HELLO for number in range(40)}
    repository.publish(tree)
    assert repository.mounts() == ["", "/sw/a"]
    tree["/.cvmfsdirtab"] = rules("/sw/a")
    repository.publish(tree)
    few = {"/.cvmfsdirtab": tree["/.cvmfsdirtab"], "/sw/a/0": HELLO}
    repository.publish(few)
    all_right(repository, few, "/sw/a")


# Buckets


def paths(world: World) -> list[str]:
    with world.reader() as snapshot:
        return [path for path, _ in snapshot.walk() if path]


def mounts(world: World) -> list[str]:
    store = world.store_of("alice.infn.it")
    report = check_repository(
        lambda path: blob.body if (blob := store.get(path)) else None,
        exists=store.has,
        public_keys=None,
        fqrn="alice.infn.it",
        now=world.clock.now,
        data=True,
    )
    assert [str(finding) for finding in report.findings if "signature" not in finding.what] == []
    with world.reader() as snapshot:
        return sorted(path for path, _, _ in snapshot.catalogs())


def test_a_dirtab_in_a_bucket_starts_catalogs_and_survives_its_own_removal(world):
    world.upload("cvmfs/sw/a/x", b"1")
    world.upload("cvmfs/.cvmfsdirtab", b"/sw/*\n")
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw/a"]
    world.delete("cvmfs/.cvmfsdirtab")
    world.run_until_quiet()
    world.upload("cvmfs/sw/b/x", b"2")
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw/a"]
    world.upload("cvmfs/.cvmfsdirtab", b"/sw/*\n")
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw/a", "/sw/b"]


def test_a_directory_that_holds_only_a_rules_marker_ceases_to_exist(world):
    world.upload("cvmfs/.cvmfsdirtab", b"/sw/*\n/sw\n")
    world.upload("cvmfs/sw/a/x", b"1")
    world.upload("cvmfs/sw/b/", b"")
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw", "/sw/a", "/sw/b"]
    world.delete("cvmfs/sw/a/x")
    world.delete("cvmfs/sw/b/")
    world.run_until_quiet()
    assert paths(world) == ["/.cvmfsdirtab"]
    assert mounts(world) == [""]


def test_a_faulty_dirtab_in_a_bucket_is_a_problem_until_it_is_corrected(world):
    world.upload("cvmfs/.cvmfsdirtab", b"sw/*\n")
    world.upload("cvmfs/sw/a/x", b"1")
    world.run_until_quiet()
    problem = world.problems()["cvmfs/.cvmfsdirtab"]
    assert (problem.code, "line 1: 'sw/*'" in problem.reason) == ("dirtab", True)
    assert mounts(world) == [""]
    world.upload("cvmfs/sw/b/x", b"1")
    world.run_until_quiet()
    assert list(world.problems()) == ["cvmfs/.cvmfsdirtab"]
    world.upload("cvmfs/.cvmfsdirtab", b"/sw/*\n")
    world.run_until_quiet()
    assert world.problems() == {}
    assert mounts(world) == ["", "/sw/a", "/sw/b"]


def test_a_fault_of_a_dirtab_is_told_as_long_as_it_is_there_however_often_it_is_looked_at(world):
    world.upload("cvmfs/.cvmfsdirtab", b"sw/*\n")
    world.run_until_quiet()
    world.notify("ObjectCreated:Put", "cvmfs/.cvmfsdirtab")
    world.run_until_quiet()
    assert [problem.code for problem in world.problems().values()] == ["dirtab"]
    world.upload("cvmfs/.cvmfsdirtab", b"sw/*\n")
    world.run_until_quiet()
    assert [problem.code for problem in world.problems().values()] == ["dirtab"]
    world.upload("cvmfs/.cvmfsdirtab", b"/sw/*\n")
    world.run_until_quiet()
    assert world.problems() == {}


def test_whoever_wanted_to_be_the_dirtab_and_lost_is_told_so(world):
    keys = ["cvmfs/.cvmfsdirtab.rclonelink", "cvmfs/.cvmfsdirtab"]
    for key in keys:
        world.source.put("alice", key, b"sw/*\n")
    world.notify("ObjectCreated:Put", *keys)
    world.run_until_quiet()
    told = {key: problem.code for key, problem in world.problems().items()}
    assert told == {"cvmfs/.cvmfsdirtab": "dirtab", "cvmfs/.cvmfsdirtab.rclonelink": "path-clash"}


def test_a_marker_uploaded_and_deleted_starts_and_ends_a_catalog(world):
    world.upload("cvmfs/sw/a/x", b"1")
    world.upload("cvmfs/sw/a/.cvmfscatalog", b"")
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw/a"]
    world.delete("cvmfs/sw/a/.cvmfscatalog")
    world.run_until_quiet()
    assert (mounts(world), paths(world)) == ([""], ["/sw", "/sw/a", "/sw/a/x"])


def test_a_directory_with_a_catalog_can_be_moved_in_a_bucket(world):
    names = ("x", "deep/y", ".cvmfscatalog", "deep/.cvmfscatalog")
    for name in names:
        world.upload(f"cvmfs/old/{name}", name.encode())
    world.run_until_quiet()
    for name in names:
        world.upload(f"cvmfs/new/{name}", name.encode())
        world.delete(f"cvmfs/old/{name}")
    world.run_until_quiet()
    assert mounts(world) == ["", "/new", "/new/deep"]
    assert not [path for path in paths(world) if path.startswith("/old")]


def test_the_balancer_leaves_a_users_marker_alone(world, monkeypatch):
    weigh(monkeypatch, SMALL)
    names = [f"cvmfs/d/{number}" for number in range(40)]
    for name in names:
        world.upload(name)
    world.run_until_quiet()
    assert mounts(world) == ["", "/d"]
    world.upload("cvmfs/d/.cvmfscatalog")
    for name in names[1:]:
        world.delete(name)
    world.run_until_quiet()
    assert mounts(world) == ["", "/d"]
    world.delete("cvmfs/d/.cvmfscatalog")
    world.run_until_quiet()
    assert (mounts(world), paths(world)) == ([""], ["/d", "/d/0"])


def test_a_directory_the_balancer_split_ceases_to_exist_with_its_last_file(world, monkeypatch):
    weigh(monkeypatch, CatalogWeights(most=6, balanced=4, least=0))
    names = [f"cvmfs/d/{number}" for number in range(8)]
    for name in names:
        world.upload(name)
    world.run_until_quiet()
    assert mounts(world) == ["", "/d"]
    for name in names:
        world.delete(name)
    world.run_until_quiet()
    assert (mounts(world), paths(world)) == ([""], [])


def weigh(monkeypatch, weights: CatalogWeights) -> None:
    usual = Cloud.publisher
    monkeypatch.setattr(Cloud, "publisher", lambda cloud, fqrn: replace(usual(cloud, fqrn), weights=weights))


def archive(*names: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name in names:
            tar.addfile(tarfile.TarInfo(name))
    return packed.getvalue()


def test_rules_lead_into_the_tree_of_an_archive(world):
    world.upload("cvmfs/.cvmfsdirtab", b"/sw/*/lib\n")
    world.upload("cvmfs/sw/tool.tar", archive("bin/x", "lib/y"))
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw/tool", "/sw/tool/lib"]
    world.upload("cvmfs/sw/tool.tar", archive("bin/x", "lib/z"))
    world.run_until_quiet()
    assert mounts(world) == ["", "/sw/tool", "/sw/tool/lib"]
    world.delete("cvmfs/sw/tool.tar")
    world.run_until_quiet()
    assert (mounts(world), paths(world)) == ([""], ["/.cvmfsdirtab"])


def test_a_marker_inside_an_archive_starts_a_catalog(world):
    world.upload("cvmfs/tool.tar", archive("lib/.cvmfscatalog", "lib/y", ".cvmfscatalog"))
    world.run_until_quiet()
    assert mounts(world) == ["", "/tool", "/tool/lib"]


def test_the_tree_of_an_archive_keeps_its_catalog_when_an_uploaded_marker_goes(world):
    world.upload("cvmfs/tool.tar", archive("lib/y"))
    world.run_until_quiet()
    world.upload("cvmfs/tool/.cvmfscatalog", b"")
    world.run_until_quiet()
    world.delete("cvmfs/tool/.cvmfscatalog")
    world.run_until_quiet()
    assert mounts(world) == ["", "/tool"]
    world.delete("cvmfs/tool.tar")
    world.run_until_quiet()
    assert paths(world) == []


def test_the_marker_that_comes_back_to_an_archive_is_stored_though_nothing_referred_to_it_meanwhile(world):
    world.upload("cvmfs/tool.tar", tar(member("lib/y", b"1")))
    world.run_until_quiet()
    world.upload("cvmfs/tool/.cvmfscatalog", b"mine")
    world.run_until_quiet()
    world.clock.now += timedelta(days=20)
    world.upload("cvmfs/other", b"now")
    world.run_until_quiet()
    world.ask(CollectionRequested(repository="alice.infn.it", request="collect", requested_by="alice"))
    world.run_until_quiet()
    empty = Address(marker_entry(HashAlgorithm.SHA1, mtime=0).digest, Kind.FILE)
    assert not world.store_of("alice.infn.it").has(empty.path)
    world.delete("cvmfs/tool/.cvmfscatalog")
    world.run_until_quiet()
    assert mounts(world) == ["", "/tool"]


NO_MARKERS = [
    pytest.param("cvmfs/.cvmfscatalog", id="in the root"),
    pytest.param("cvmfs/a/.cvmfscatalog/", id="a directory"),
    pytest.param("cvmfs/a/.cvmfscatalog.rclonelink", id="a link"),
    pytest.param("cvmfs/a/.cvmfscatalog.tar", id="an archive"),
    pytest.param("cvmfs/a/.cvmfsautocatalog", id="the balancer's"),
]


@pytest.mark.parametrize("key", NO_MARKERS)
def test_what_cannot_be_a_marker_is_refused_and_harms_nothing(world, key):
    world.upload("cvmfs/a/x", b"1")
    world.upload(key, archive("y") if key.endswith("tar") else b"")
    world.run_until_quiet()
    assert list(world.problems()) == [key]
    assert (mounts(world), paths(world)) == ([""], ["/a", "/a/x"])


def test_a_marker_with_the_metadata_of_a_link_is_a_file(world):
    world.upload("cvmfs/a/.cvmfscatalog", b"target", mode="120777")
    world.run_until_quiet()
    assert mounts(world) == ["", "/a"]
