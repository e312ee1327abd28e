"""How much `repo check` looks at: a tag, a subtree, no objects, or everything that is stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli_repository import CliRepository, run


@pytest.fixture
def repository(tmp_path: Path) -> CliRepository:
    """Two revisions, the older one tagged, and a nested catalog."""
    repository = CliRepository.copy(tmp_path)
    (repository.tree / "pkg").mkdir()
    (repository.tree / "pkg" / ".cvmfscatalog").touch()
    (repository.tree / "file").write_text("old")
    repository.published("--tag", "v1")
    (repository.tree / "file").write_text("newer")
    repository.published()
    return repository


def check(repository: CliRepository, *options: object) -> tuple[int, dict]:
    result = run("repo", "check", repository.storage, "--json", *options)
    return result.exit_code, json.loads(result.stdout)


def stored(repository: CliRepository, path: str, tag: str | None = None) -> Path:
    digest = str(repository.reader().snapshot(tag).lookup(path).digest)
    return repository.folder / "data" / digest[:2] / digest[2:]


def test_a_tag_is_checked_instead_of_the_newest_revision(repository: CliRepository) -> None:
    stored(repository, "/file", "v1").unlink()
    assert check(repository)[0] == 0
    code, report = check(repository, "--tag", "v1")
    assert code == 1
    assert "/file" in report["findings"][0]["what"]


def test_a_check_begins_at_a_nested_catalog(repository: CliRepository) -> None:
    stored(repository, "/file").unlink()
    assert check(repository)[0] == 1
    code, report = check(repository, "--subtree", "/pkg")
    assert (code, report["catalogs"]) == (0, 1)
    assert check(repository, "-s", "/nowhere")[0] == 1


def test_objects_are_left_out_on_request_only(repository: CliRepository) -> None:
    stored(repository, "/file").unlink()
    code, report = check(repository, "--no-objects")
    assert (code, report["objects"]) == (0, 0)
    assert run("repo", "check", repository.storage, "--no-objects", "--data").exit_code == 2


def test_a_scrub_finds_what_nothing_refers_to(repository: CliRepository) -> None:
    code, report = check(repository, "--scrub")
    assert code == 0
    assert report["scrubbed_objects"] > report["objects"] + report["catalogs"]
    (repository.folder / "data" / "aa").mkdir(exist_ok=True)
    (repository.folder / "data" / "aa" / ("a" * 38)).write_bytes(b"nobody knows this")
    assert check(repository, "--data", "--all-tags")[0] == 0
    result = run("repo", "check", repository.storage, "--scrub")
    assert result.exit_code == 1
    assert "the stored bytes hash to" in result.stdout
    assert "scrubbed: 1 finding, the repository is broken" in result.stdout


def test_what_a_web_server_stores_cannot_be_scrubbed(repository: CliRepository) -> None:
    with repository.served() as base:
        result = run("repo", "check", f"{base}/{repository.reader().fqrn}", "--scrub")
    assert result.exit_code == 2
    assert "give the storage" in result.stderr
