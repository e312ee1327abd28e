"""`repo diff`: what changed between two revisions, however they are named, for people and for programs."""

from __future__ import annotations

import json

import pytest

from tests.cli_repository import FQRN, CliRepository, run


@pytest.fixture
def repository(tmp_path):
    """Revision 2 has the tag v1, revision 3 none, and a nested catalog begins at /lib there."""
    repository = CliRepository.copy(tmp_path)
    (repository.tree / "lib").mkdir()
    (repository.tree / "lib" / "data").write_bytes(b"data")
    (repository.tree / "gone").write_bytes(b"gone!")
    (repository.tree / "mode").write_bytes(b"#!/bin/sh\n")
    (repository.tree / "link").symlink_to("lib")
    repository.published("--tag", "v1", "--no-autotag")
    (repository.tree / "lib" / "data").write_bytes(b"more data")
    (repository.tree / "lib" / ".cvmfscatalog").touch()
    (repository.tree / "gone").unlink()
    (repository.tree / "mode").chmod(0o755)
    (repository.tree / "link").unlink()
    (repository.tree / "link").mkdir()
    repository.published("--no-autotag")
    return repository


def diff(repository, *arguments):
    result = run("repo", "diff", repository.folder, *arguments, "--key", repository.public_key)
    assert result.exit_code == 0, result.stderr
    return result


CHANGES = [
    "D /gone (file, 5 B)",
    "M /lib/data (file: size, content; 4 B to 9 B)",
    "M /link (symlink to directory: size, mode, symlink-target)",
    "M /mode (file: mode)",
]


def test_the_newest_revision_is_compared_with_the_one_before(repository):
    result = diff(repository, "-i")
    assert result.stdout.splitlines() == CHANGES
    assert result.stderr == (
        "trunk-previous to trunk: 0 added, 3 modified, 1 removed; "
        "regular files +0, symlinks -1, directories +1, nested catalogs +1, bytes +0.\n"
    )


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("v1", "trunk"), id="tags"),
        pytest.param(("2", "3"), id="numbers"),
        pytest.param(("-s", "v1", "-d", "3"), id="the options of the official tool"),
        pytest.param(("v1",), id="one of them"),
    ],
)
def test_revisions_are_named_by_tag_or_number(repository, names):
    assert diff(repository, "-i", *names).stdout.splitlines() == CHANGES


def test_revisions_are_named_by_their_root_hash(repository):
    tags = {tag.name: str(tag.root) for tag in repository.reader().tags()}
    assert diff(repository, "-i", tags["v1"], "@" + tags["trunk"]).stdout.splitlines() == CHANGES


def test_a_revision_without_a_tag_is_found_along_its_successors(repository):
    for number in range(2):
        (repository.tree / "more").write_bytes(b"x" * (number + 1))
        repository.published("--no-autotag")
    assert {tag.revision for tag in repository.reader().tags()} == {2, 4, 5}
    assert diff(repository, "-i", "2", "3").stdout.splitlines() == CHANGES


def test_a_collected_revision_is_said_to_be_so(repository):
    root = repository.reader().manifest.root
    (repository.tree / "more").touch()
    repository.published("--no-autotag")
    (repository.tree / "more").unlink()
    repository.published("--no-autotag")
    (repository.folder / "data" / str(root)[:2] / f"{str(root)[2:]}C").unlink()
    result = run("repo", "diff", repository.folder, "3")
    assert result.exit_code == 1
    assert f"Revision 3 cannot be reached: the root catalog {root} is not stored" in result.stderr
    assert "Name a tag" in result.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("9", f"There is no revision 9 of {FQRN}, the newest is 3.", id="a number too large"),
        pytest.param("v9", f"'v9' is no tag of {FQRN}, no number and no hash.", id="no tag"),
        pytest.param("@" + "0" * 39 + "1", "is not stored, it may have been collected.", id="no root catalog"),
    ],
)
def test_a_revision_that_is_not_there_is_refused_with_a_next_step(repository, name, reason):
    result = run("repo", "diff", repository.folder, name)
    assert (result.exit_code, result.stdout) == (1, "")
    assert reason in result.stderr
    assert "Name a tag (`cvmfs-cloud repo tag` lists them)" in result.stderr


def test_a_nested_catalog_has_no_revisions(repository):
    nested = next(str(digest) for path, digest, _ in repository.reader().snapshot().catalogs() if path)
    result = run("repo", "diff", repository.folder, nested)
    assert result.exit_code == 1
    assert "is for '/lib'" in result.stderr


def test_equal_revisions_have_no_differences(repository):
    assert diff(repository, "trunk", "3").stdout == ""


def test_the_way_back_is_the_opposite(repository):
    signs = {line.split()[1]: line[0] for line in diff(repository, "trunk", "v1").stdout.splitlines()}
    assert signs["/gone"] == "A"


def test_where_catalogs_begin_is_shown_on_request(repository):
    assert "/lib (directory" not in diff(repository, "-i").stdout
    assert "M /lib (directory: nested-catalog)" in diff(repository, "-i", "--catalogs").stdout.splitlines()


def test_only_a_part_is_compared_on_request(repository):
    result = diff(repository, "-i", "--path", "/lib")
    assert result.stdout.splitlines() == ["M /lib/data (file: size, content; 4 B to 9 B)"]
    assert result.stderr == "trunk-previous to trunk: 0 added, 1 modified, 0 removed.\n"
    unknown = run("repo", "diff", repository.folder, "--path", "/nothing")
    assert (unknown.exit_code, "There is no /nothing in either revision." in unknown.stderr) == (1, True)


def test_times_count_unless_they_are_to_be_ignored(repository):
    assert "M /lib/data (file: size, timestamp, content; 4 B to 9 B)" in diff(repository).stdout


def test_scripts_get_the_lines_of_the_official_tool(repository):
    assert diff(repository, "-m", "-i").stdout.splitlines() == [
        "S F 0",
        "S S -1",
        "S D 1",
        "S N 1",
        "R F /gone -5",
        "M[N] D /lib",
        "M[SC] F /lib/data",
        "M[SML] SD /link",
        "M[M] F /mode",
    ]
    assert diff(repository, "-m", "-h").stdout.startswith("# ")


def test_a_header_says_what_is_compared(repository):
    first = diff(repository, "-h", "2", "3").stdout.splitlines()[0]
    assert first.startswith("From 2 (revision 2, 20")
    assert " to 3 (revision 3, 20" in first


def test_programs_get_everything_as_one_value(repository):
    found = json.loads(diff(repository, "-i", "--json", "v1").stdout)
    assert (found["from"]["revision"], found["to"]["name"], found["signatures_checked"]) == (2, "trunk", True)
    assert found["counters"] == {"symlink": -1, "dir": 2, "nested": 1}
    assert [(change["kind"], change["path"]) for change in found["changes"]] == [
        ("remove", "/gone"),
        ("modify", "/lib/data"),
        ("modify", "/link"),
        ("modify", "/mode"),
    ]
    assert found["changes"][1]["aspects"] == ["size", "content"]
    assert (found["changes"][2]["old"]["target"], found["changes"][2]["new"]["type"]) == ("lib", "directory")
    (catalog,) = found["catalogs"]
    assert (catalog["path"], catalog["old"]) == ("/lib", None)


def test_a_repository_behind_http_is_compared_too(repository):
    with repository.served() as base:
        result = run("repo", "diff", f"{base}/{FQRN}", "-i", "--key", repository.public_key)
    assert result.stdout.splitlines() == CHANGES


def test_naming_a_revision_twice_is_wrong_usage(repository):
    assert run("repo", "diff", repository.folder, "v1", "--from", "v1").exit_code == 2


def test_the_first_revision_has_none_before(tmp_path):
    repository = CliRepository.copy(tmp_path)
    result = run("repo", "diff", repository.folder)
    assert result.exit_code == 1
    assert "Revision 1 is the first one." in result.stderr
