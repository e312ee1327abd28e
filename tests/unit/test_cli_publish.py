"""`repo mkfs` and `repo publish`, from the command line to the verifying reader and the checker."""

from __future__ import annotations

import json
import os
import stat
from types import SimpleNamespace

import pytest

from functions.cvmfs.compression import Compression
from gateway.cli import output
from tests.cli_repository import FQRN, CliRepository, run


@pytest.fixture
def repository(tmp_path):
    return CliRepository.copy(tmp_path)


def checked(repository):
    result = run("repo", "check", repository.folder, "--key", repository.public_key, "--data")
    assert result.exit_code == 0, result.stdout


def test_a_tree_is_published_and_seen_by_the_verifying_reader(repository):
    (repository.tree / "bin").mkdir()
    tool = repository.tree / "bin" / "tool"
    tool.write_bytes(b"#!/bin/sh\n")
    tool.chmod(0o755)
    (repository.tree / "current").symlink_to("bin/tool")
    (repository.tree / "empty").mkdir()
    result = repository.publish()
    assert result.exit_code == 0
    assert result.stdout == f"Published {FQRN}, revision 2: 4 added, 0 changed, 0 removed, 0 unchanged.\n"
    snapshot = repository.reader().snapshot()
    assert snapshot.read("/bin/tool") == b"#!/bin/sh\n"
    assert stat.S_IMODE(snapshot.lookup("/bin/tool").mode) == 0o755
    assert snapshot.lookup("/current").symlink == "bin/tool"
    assert snapshot.lookup("/empty").is_directory
    checked(repository)


def test_the_second_publish_of_the_same_tree_makes_no_revision(repository):
    (repository.tree / "file").write_bytes(b"x")
    assert repository.published()["revision"] == 2
    again = repository.publish()
    assert again.stdout == f"Nothing to publish: {FQRN}, revision 2, is equal already.\n"
    assert repository.reader().manifest.revision == 2


def test_what_changed_and_what_is_gone_is_counted(repository):
    for name in ("same", "other", "gone"):
        (repository.tree / name).write_bytes(name.encode())
    repository.published()
    (repository.tree / "other").write_bytes(b"new content")
    (repository.tree / "gone").unlink()
    (repository.tree / "new").symlink_to("same")
    outcome = repository.published()
    assert {name: outcome[name] for name in ("added", "changed", "removed", "unchanged", "read_files")} == {
        "added": 1,
        "changed": 1,
        "removed": 1,
        "unchanged": 1,
        "read_files": 1,
    }
    assert repository.paths() == ["/new", "/other", "/same"]
    checked(repository)


def test_hard_links_stay_hard_links_within_a_directory(repository):
    (repository.tree / "one").write_bytes(b"shared")
    (repository.tree / "sub").mkdir()
    for name in ("two", "sub/three"):
        os.link(repository.tree / "one", repository.tree / name)
    repository.published()
    snapshot = repository.reader().snapshot()
    entries = [snapshot.lookup(path) for path in ("/one", "/two", "/sub/three")]
    assert [(entry.linkcount, entry.hardlink_group) for entry in entries] == [(2, 1), (2, 1), (1, 0)]
    assert len({entry.digest for entry in entries}) == 1
    checked(repository)


def test_names_that_are_no_utf8_are_published(repository):
    (repository.tree / os.fsdecode(b"\xff\xfe")).write_bytes(b"x")
    repository.published()
    assert repository.paths() == ["/\udcff\udcfe"]
    listed = run("repo", "ls", repository.folder)
    assert listed.stdout_bytes == b"\xff\xfe\n"


def test_a_dry_run_shows_every_change_and_changes_nothing(repository):
    (repository.tree / "old").write_bytes(b"old")
    repository.published()
    (repository.tree / "old").unlink()
    (repository.tree / "a").mkdir()
    (repository.tree / "a" / "b").touch()
    result = repository.publish("--dry-run")
    assert result.stdout == "+ /a\n+ /a/b\n- /old\n"
    assert "Nothing was written" in result.stderr
    assert repository.reader().manifest.revision == 2
    plan = json.loads(repository.publish("--dry-run", "--json").stdout)
    assert (plan["added"], plan["removed"]) == (2, 1)
    assert {"kind": "remove", "path": "/old"} in plan["changes"]


def test_a_path_keeps_everything_outside_of_it(repository):
    (repository.tree / "file").write_bytes(b"x")
    repository.published("--path", "/first")
    repository.published("--path", "/second/deep/")
    assert sorted(repository.paths()) == ["/first", "/first/file", "/second", "/second/deep", "/second/deep/file"]
    checked(repository)


def test_a_single_file_is_published_at_its_path(repository):
    (repository.tree / "motd").write_bytes(b"hello")
    result = repository.publish("--path", "/etc/motd", source=repository.tree / "motd")
    assert result.exit_code == 0
    assert repository.reader().snapshot().read("/etc/motd") == b"hello"


def test_a_tag_with_its_description_is_put_on_the_revision(repository):
    repository.published("--tag", "v1", "--message", "the first")
    assert [(tag.name, tag.revision, tag.description) for tag in repository.reader().tags() if tag.name == "v1"] == [
        ("v1", 2, "the first")
    ]


def test_a_tag_that_is_taken_is_refused_before_anything_is_stored(repository):
    repository.published("--tag", "v1")
    (repository.tree / "file").touch()
    before = sorted(repository.folder.rglob("*"))
    result = repository.publish("--tag", "v1")
    assert result.exit_code == 1
    assert "There is a tag 'v1' already. Choose another name" in result.stderr
    assert sorted(repository.folder.rglob("*")) == before


def test_a_repository_without_compression_stays_without(tmp_path):
    storage, keys, tree = tmp_path / "repository", tmp_path / "keys", tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_bytes(b"aaaaaaaa")
    options = ("--storage", f"dir:{storage}", "--keys", keys)
    made = run("repo", "mkfs", FQRN, *options, "--hash", "shake128", "--compression", "none", "--ttl", "61")
    assert made.exit_code == 0
    assert run("repo", "publish", "--from", tree, *options).exit_code == 0
    repository = CliRepository(tmp_path)
    entry = repository.reader().snapshot().lookup("/file")
    assert (entry.compression, entry.digest.algorithm.value) == (Compression.NONE, "shake128")
    assert repository.reader().manifest.ttl == 61
    checked(repository)


def test_making_a_repository_twice_is_refused_with_a_next_step(repository):
    result = run("repo", "mkfs", FQRN, "--storage", repository.storage, "--keys", repository.keys)
    assert result.exit_code == 1
    assert f"holds {FQRN} already, at revision 1. Name another folder or prefix with --storage." in result.stderr


def test_special_files_are_published_as_what_they_are(repository):
    os.mkfifo(repository.tree / "pipe", 0o640)
    assert repository.published()["added"] == 1
    entry = repository.reader().snapshot().lookup("/pipe")
    assert (stat.S_ISFIFO(entry.mode), entry.size) == (True, 0)
    assert repository.published()["unchanged"] == 1
    checked(repository)


def test_an_empty_tree_removes_nothing_unless_that_is_meant(repository):
    (repository.tree / "file").touch()
    repository.published()
    (repository.tree / "file").unlink()
    refused = repository.publish()
    assert refused.exit_code == 1
    assert "The tree is empty: everything at / would be removed. Look whether" in refused.stderr
    assert repository.paths() == ["/file"]
    assert repository.published("--allow-empty")["removed"] == 1
    assert repository.paths() == []


def test_owners_are_those_of_the_tree_or_the_one_that_is_given(repository):
    (repository.tree / "file").touch()
    repository.published()
    own = repository.reader().snapshot().lookup("/file")
    assert (own.uid, own.gid) == (os.getuid(), os.getgid())
    told = repository.published("--owner", "4294967295:7")
    given = repository.reader().snapshot().lookup("/file")
    assert (told["changed"], told["read_files"], given.uid, given.gid) == (1, 0, 4294967295, 7)
    checked(repository)


@pytest.mark.parametrize("owner", ["1", "1:", "root:root", "1:4294967296", "-1:1"])
def test_an_owner_is_two_numbers(repository, owner):
    refused = repository.publish("--owner", owner)
    assert refused.exit_code == 2
    assert "two numbers, UID:GID" in refused.stderr


def test_new_content_is_stored_as_this_publish_says(repository):
    (repository.tree / "old").write_bytes(b"old")
    repository.published()
    (repository.tree / "new").write_bytes(b"new")
    repository.published("--compression", "none")
    snapshot = repository.reader().snapshot()
    assert [snapshot.lookup(path).compression for path in ("/old", "/new")] == [Compression.ZLIB, Compression.NONE]
    checked(repository)


def test_a_file_that_only_looks_unchanged_is_found_by_its_content(repository):
    file = repository.tree / "file"
    file.write_bytes(b"before")
    os.utime(file, ns=(1, 1))
    repository.published()
    file.write_bytes(b"after!")
    os.utime(file, ns=(1, 1))
    assert repository.published()["published"] is False
    assert repository.published("--checksum")["changed"] == 1
    assert repository.reader().snapshot().read("/file") == b"after!"
    assert repository.published("--checksum")["published"] is False


def test_remarks_are_told_to_people_and_programs(repository):
    (repository.tree / ".cvmfscatalog").touch()
    (repository.tree / ".cvmfsdirtab").write_bytes(b"relative/*\n")
    told = repository.publish()
    assert told.exit_code == 0
    assert "/.cvmfscatalog is left out: the root of a repository always has a catalog." in told.stderr
    assert "/.cvmfsdirtab is not applied: line 1: 'relative/*': only rules with '!'" in told.stderr
    assert repository.published()["remarks"] == [
        "/.cvmfscatalog is left out: the root of a repository always has a catalog."
    ]
    checked(repository)


def test_keys_of_another_repository_are_refused_before_anything_is_written(repository, tmp_path):
    other = tmp_path / "other"
    made = run("repo", "mkfs", FQRN, "--storage", f"dir:{other / 'repository'}", "--keys", other / "keys")
    assert made.exit_code == 0
    (repository.tree / "file").touch()
    before = sorted(repository.folder.rglob("*"))
    result = run(
        *("repo", "publish", "--from", repository.tree, "--storage", repository.storage, "--keys", other / "keys")
    )
    assert result.exit_code == 1
    assert f"is not the key that {FQRN} is signed with" in result.stderr
    assert sorted(repository.folder.rglob("*")) == before


def test_a_name_that_is_not_the_repositorys_is_refused(repository):
    assert repository.publish(FQRN).exit_code == 0
    result = repository.publish("other.example.org")
    assert result.exit_code == 1
    assert f"holds {FQRN}, not other.example.org" in result.stderr


def test_an_empty_folder_is_no_repository_and_the_next_step_is_said(repository, tmp_path):
    result = run(
        *(
            "repo",
            "publish",
            "--from",
            repository.tree,
            "--storage",
            f"dir:{tmp_path / 'none'}",
            "--keys",
            repository.keys,
        )
    )
    assert result.exit_code == 1
    assert "Make one with `cvmfs-cloud repo mkfs`." in result.stderr


USAGE = [
    pytest.param(("--path", "/a/../b"), "is no path in a repository", id="a path with .."),
    pytest.param(("--path", "/a//b"), "is no path in a repository", id="a path with an empty component"),
    pytest.param(("--message", "text"), "give --tag too", id="a message without a tag"),
    pytest.param(("--tag", "with blank"), "is not a tag name", id="a tag with a blank"),
    pytest.param(("--tag", "trunk"), "is reserved", id="a tag that the publisher keeps"),
    pytest.param(("not a name",), "is no repository name", id="a name with blanks"),
]


@pytest.mark.parametrize(("options", "reason"), USAGE)
def test_wrong_usage_ends_with_two(repository, options, reason):
    result = repository.publish(*options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())


@pytest.mark.parametrize("storage", ["s3:bucket", "dir:", "/a/folder"])
def test_a_storage_that_is_no_folder_is_wrong_usage(repository, storage):
    result = run("repo", "publish", "--from", repository.tree, "--storage", storage, "--keys", repository.keys)
    assert result.exit_code == 2
    assert "write dir:PATH" in result.stderr


def test_progress_that_nobody_could_read_is_passed_by(monkeypatch):
    times = iter((10.0, 10.05, 10.2))
    monkeypatch.setattr(output, "time", SimpleNamespace(monotonic=lambda: next(times)))
    shown = []
    show = output.now_and_then(shown.append)
    for files in (1, 2, 3):
        show(files)
    assert shown == [1, 3]
