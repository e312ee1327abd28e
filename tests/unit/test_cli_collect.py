"""`repo gc`: what it deletes, what it says, and what it asks first."""

from __future__ import annotations

import json
import os
import shutil
from datetime import UTC, datetime, timedelta

import pytest

from gateway.cli.collect import moment, time_span
from tests.cli_repository import CliRepository, run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three revisions after the first one; all that is stored is old by now."""
    repository = CliRepository.copy(tmp_path_factory.mktemp("gc"))
    for content in (b"first", b"second", b"third"):
        (repository.tree / "file").write_bytes(content)
        repository.published("--no-autotag")
    long_ago = (datetime.now(UTC) - timedelta(days=20)).timestamp()
    for file in (repository.folder / "data").rglob("*"):
        if file.is_file():
            os.utime(file, (long_ago, long_ago))
    return repository


@pytest.fixture
def repository(made, tmp_path):
    shutil.copytree(made.home, tmp_path, dirs_exist_ok=True)
    return CliRepository(tmp_path)


def gc(repository, *options):
    return run("repo", "gc", "--storage", repository.storage, "--keys", repository.keys, *options)


def stored(repository):
    data = repository.folder / "data"
    return {file.relative_to(data).as_posix().replace("/", "") for file in data.rglob("*") if file.is_file()}


def checked(repository):
    result = run("repo", "check", repository.folder, "--key", repository.public_key, "--data", "--all-tags")
    assert result.exit_code == 0, result.stdout


def test_old_revisions_are_deleted_and_the_repository_stays_whole(repository):
    before = stored(repository)
    result = gc(repository, "-r", "0", "-l")
    assert result.exit_code == 0, result.stderr
    *gone, summary = result.stdout.splitlines()
    assert set(gone) == before - stored(repository)
    assert summary.startswith(f"Deleted {len(gone)} objects, ")
    assert "2 root catalogs with" in result.stderr
    assert repository.reader().snapshot().read("/file") == b"third"
    checked(repository)


def test_a_dry_run_names_what_would_go_and_changes_nothing(repository):
    before = {file: file.read_bytes() for file in repository.folder.rglob("*") if file.is_file()}
    said = json.loads(gc(repository, "-r", "0", "--dry-run", "--list", "--json").stdout)
    assert {file: file.read_bytes() for file in repository.folder.rglob("*") if file.is_file()} == before
    names = stored(repository)
    done = json.loads(gc(repository, "-r", "0", "--json").stdout)
    assert set(said.pop("objects")) == names - stored(repository)
    assert said | {"dry_run": False} == done
    assert done["complete"] is True
    assert (done["kept_roots"], len(done["condemned_roots"])) == (2, 2)


def test_by_default_the_last_three_days_stay(repository):
    assert json.loads(gc(repository, "--json").stdout)["condemned_roots"] == []
    checked(repository)


def test_the_log_has_what_the_official_one_has(repository, tmp_path):
    log, before = tmp_path / "gc.log", stored(repository)
    gc(repository, "-r", "0", "-L", log)
    gc(repository, "-r", "0", "-L", log)
    first, *names, last, blank = log.read_text().split("\n")[: len(before - stored(repository)) + 3]
    assert first.startswith("# Garbage Collection started at ")
    assert last.startswith("# Garbage Collection finished at ")
    assert datetime.strptime(last.partition(" at ")[2], "%d %b %Y %H:%M:%S")  # noqa: DTZ007
    assert blank == ""
    assert set(names) == before - stored(repository)
    assert log.read_text().count("# Garbage") == 4


def test_young_objects_stay_and_it_is_said_why(repository):
    (repository.tree / "file").write_bytes(b"fourth")
    repository.published("--no-autotag")
    (repository.tree / "file").write_bytes(b"fifth")
    repository.published("--no-autotag")
    result = gc(repository, "-r", "0")
    assert "Younger than 8 d, they may belong to a publish under way" in result.stderr
    result = gc(repository, "-r", "0", "--grace", "0")
    assert "Younger" not in result.stderr
    assert "nobody may publish until this is done" in result.stderr
    checked(repository)


def test_a_person_is_asked_and_may_say_no(repository, monkeypatch):
    monkeypatch.setattr("gateway.cli.opened._is_asked", lambda: True)
    before = stored(repository)
    result = gc(repository, "-r", "0")
    assert result.exit_code == 1
    assert stored(repository) == before
    assert gc(repository, "-r", "0", "--force").exit_code == 0
    assert stored(repository) < before


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        pytest.param(("-r", "1", "-t", "3d"), "not both", id="two limits"),
        pytest.param(("-r", "-1"), "--keep", id="less than none"),
        pytest.param(("-t", "yesterday"), "is no span of time", id="no time"),
        pytest.param(("--grace", "8"), "is no span of time", id="a span without a unit"),
        pytest.param(("-L", "/no/such/folder/log"), "cannot be written", id="a log that cannot be"),
    ],
)
def test_wrong_usage_ends_with_two_and_deletes_nothing(repository, options, reason):
    before = stored(repository)
    result = gc(repository, *options)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.replace("│", " ").split())
    assert stored(repository) == before


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        pytest.param("2026-11-24", datetime(2026, 11, 24, tzinfo=UTC), id="a day"),
        pytest.param("2026-11-24T12:30", datetime(2026, 11, 24, 12, 30, tzinfo=UTC), id="a minute"),
        pytest.param("2026-11-24T12:30+02:00", datetime(2026, 11, 24, 10, 30, tzinfo=UTC), id="of a time zone"),
        pytest.param("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), id="seconds since 1970"),
    ],
)
def test_moments_are_read(text, meant):
    assert moment(text) == meant


def test_spans_are_read():
    assert [time_span(text) for text in ("0", "90m", "12h", "3d", "2w")] == [
        timedelta(0),
        timedelta(minutes=90),
        timedelta(hours=12),
        timedelta(days=3),
        timedelta(weeks=2),
    ]
    assert abs(moment("3d") - (datetime.now(UTC) - timedelta(days=3))) < timedelta(minutes=5)
