"""`repo check`, `ls`, `cat` and `tag`, on folders and over HTTP."""

from __future__ import annotations

import json

import pytest

from tests.cli_repository import FQRN, CliRepository, run


@pytest.fixture
def repository(tmp_path):
    repository = CliRepository.copy(tmp_path)
    (repository.tree / "lib").mkdir()
    (repository.tree / "lib" / "data").write_bytes(bytes(range(256)))
    (repository.tree / "lib" / "tool").write_bytes(b"#!/bin/sh\n")
    (repository.tree / "lib" / "tool").chmod(0o755)
    (repository.tree / "link").symlink_to("lib/tool")
    repository.published("--tag", "v1")
    return repository


def test_a_sound_repository_has_no_findings_and_ends_with_zero(repository):
    result = run("repo", "check", repository.folder, "--key", repository.public_key, "--fqrn", FQRN, "--data")
    assert result.exit_code == 0
    assert result.stdout == (
        "1 catalog, 5 entries, 2 objects, 266 B of content hashed: 0 findings, nothing is broken.\n"
    )
    assert "not checked" not in result.stderr


def test_without_a_key_it_is_said_that_signatures_were_not_checked(repository):
    result = run("repo", "check", repository.folder)
    assert result.exit_code == 0
    assert "Signatures were not checked against a master key: give --key FILE.pub" in result.stderr
    assert json.loads(run("repo", "check", repository.folder, "--json").stdout)["signatures_checked"] is False


def test_a_missing_object_is_a_finding_and_ends_with_one(repository):
    digest = repository.reader().snapshot().lookup("/lib/data").digest
    (repository.folder / "data" / str(digest)[:2] / str(digest)[2:]).unlink()
    result = run("repo", "check", repository.folder, "--key", repository.public_key)
    assert result.exit_code == 1
    assert "1 finding, the repository is broken" in result.stdout
    report = json.loads(run("repo", "check", repository.folder, "--json").stdout)
    assert report["ok"] is False
    assert [finding["severity"] for finding in report["findings"]] == ["error"]


def test_a_damaged_object_is_found_only_when_data_are_read(repository):
    digest = repository.reader().snapshot().lookup("/lib/data").digest
    file = repository.folder / "data" / str(digest)[:2] / str(digest)[2:]
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert run("repo", "check", repository.folder).exit_code == 0
    assert run("repo", "check", repository.folder, "--data").exit_code == 1


def test_the_key_of_somebody_else_is_a_finding(repository, tmp_path):
    other = tmp_path / "other"
    run("repo", "mkfs", FQRN, "--storage", f"dir:{other / 'repository'}", "--keys", other)
    result = run("repo", "check", repository.folder, "--key", other / f"{FQRN}.pub")
    assert result.exit_code == 1
    assert ".cvmfswhitelist" in result.stdout


def test_no_repository_at_all_is_a_finding(tmp_path):
    assert run("repo", "check", tmp_path).exit_code == 1


def test_names_are_listed_in_byte_order(repository):
    assert run("repo", "ls", repository.folder).stdout == "lib\nlink\n"
    assert run("repo", "ls", repository.folder, "/lib").stdout == "data\ntool\n"


def test_a_long_listing_shows_modes_sizes_and_targets(repository):
    lines = run("repo", "ls", repository.folder, "-l").stdout.splitlines()
    assert lines[0].startswith("drwxr-xr-x ")
    assert lines[1].startswith("lrwxrwxrwx ")
    assert lines[1].endswith(" link -> lib/tool")
    assert run("repo", "ls", repository.folder, "/lib/tool", "-l").stdout.startswith("-rwxr-xr-x           10 ")


def test_a_recursive_listing_shows_whole_paths(repository):
    result = run("repo", "ls", "-R", repository.folder)
    assert result.stdout.splitlines() == ["/lib", "/link", "/lib/data", "/lib/tool"]


def test_a_listing_as_json_has_everything_of_an_entry(repository):
    (data, tool) = json.loads(run("repo", "ls", repository.folder, "/lib", "--json").stdout)
    assert (data["path"], data["size"], tool["mode"]) == ("data", 256, "100755")


def test_an_older_tag_shows_the_older_tree(repository):
    (repository.tree / "link").unlink()
    repository.published()
    assert run("repo", "ls", repository.folder).stdout == "lib\n"
    assert run("repo", "ls", repository.folder, "--tag", "v1").stdout == "lib\nlink\n"
    unknown = run("repo", "ls", repository.folder, "--tag", "v2")
    assert unknown.exit_code == 1
    assert "has no tag 'v2'. `cvmfs-cloud repo tag`, or `status`" in unknown.stderr


def test_a_file_is_written_byte_by_byte(repository):
    result = run("repo", "cat", repository.folder, "/lib/data", "--key", repository.public_key)
    assert (result.exit_code, result.stdout_bytes) == (0, bytes(range(256)))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        pytest.param("/nothing", "There is no /nothing.", id="absent"),
        pytest.param("/lib", "/lib is no regular file.", id="a directory"),
        pytest.param("/link", "/link is no regular file.", id="a link, which only a client can follow"),
    ],
)
def test_what_is_no_file_cannot_be_shown(repository, path, reason):
    result = run("repo", "cat", repository.folder, path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr


def test_tags_are_listed_newest_first(repository):
    lines = run("repo", "tag", repository.folder).stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["name", "revision"],
        ["trunk", "2"],
        ["v1", "2"],
        ["trunk-previous", "1"],
    ]
    tags = json.loads(run("repo", "tag", repository.folder, "--json").stdout)
    assert {tag["name"]: tag["revision"] for tag in tags} == {"trunk": 2, "v1": 2, "trunk-previous": 1}


def test_everything_works_over_http_too(repository):
    with repository.served() as base:
        url = f"{base}/{FQRN}"
        key = ("--key", repository.public_key)
        assert run("repo", "check", url, *key, "--data").exit_code == 0
        assert run("repo", "ls", url, *key).stdout == "lib\nlink\n"
        assert run("repo", "cat", url, "/lib/data", *key).stdout_bytes == bytes(range(256))
        assert "trunk" in run("repo", "tag", url, *key).stdout


def test_a_server_that_does_not_answer_ends_with_three(repository):
    with repository.served() as base:
        pass
    result = run("repo", "ls", f"{base}/{FQRN}")
    assert result.exit_code == 3
    assert "/.cvmfspublished: Failed to establish a new connection: [Errno 111] Connection refused." in result.stderr
    assert "is the server up?" in result.stderr


def test_a_key_that_cannot_be_read_is_wrong_usage(repository):
    result = run("repo", "ls", repository.folder, "--key", repository.home / "nothing.pub")
    assert result.exit_code == 2
    assert "cannot be read" in result.stderr
