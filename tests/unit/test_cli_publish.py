"""`repo mkfs` and `repo publish`, from the command line to the verifying reader and the checker."""

from __future__ import annotations

import json
import os
import stat

import pytest

from functions.cvmfs.compression import Compression
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


def test_hard_links_become_independent_files(repository):
    (repository.tree / "one").write_bytes(b"shared")
    os.link(repository.tree / "one", repository.tree / "two")
    repository.published()
    snapshot = repository.reader().snapshot()
    assert [(entry.linkcount, entry.hardlink_group) for _, entry in snapshot.listing("")] == [(1, 0), (1, 0)]
    assert snapshot.read("/one") == snapshot.read("/two") == b"shared"
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
    assert f"holds {FQRN} already, at revision 1. Name another folder with --storage." in result.stderr


def test_special_files_are_refused_by_name_and_nothing_is_published(repository):
    os.mkfifo(repository.tree / "pipe")
    result = repository.publish()
    assert result.exit_code == 1
    assert "/pipe is a named pipe" in result.stderr
    assert repository.reader().manifest.revision == 1


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
