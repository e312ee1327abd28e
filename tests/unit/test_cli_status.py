"""`status` and `wait`, through a repository's URL and the file of a running stack."""

from __future__ import annotations

import hashlib
import json
import threading

import pytest

from functions import wiring
from functions.adapters.memory import MemoryBlobStore
from functions.errors import UploadRefused
from functions.publishing.records import Problem
from tests.cli_repository import FQRN, CliRepository, run

SETTINGS = {
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "secret",
    "REPOSITORY_URL": "http://127.0.0.1:1/cvmfs",
    "AMQP_URL": "amqp://127.0.0.1:1",
}


@pytest.fixture
def repository(tmp_path):
    repository = CliRepository.copy(tmp_path)
    (repository.tree / "file").write_bytes(b"content")
    repository.published("--tag", "v1")
    return repository


def test_the_published_revision_is_shown(repository):
    with repository.served() as base:
        result = run("status", FQRN, "--url", base, "--key", repository.public_key)
    assert result.exit_code == 0, result.stderr
    shown = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    root = repository.reader().manifest.root
    assert shown["repository"] == FQRN
    assert shown["url"] == f"{base}/{FQRN}"
    assert shown["revision"] == f"2, root hash {root}"
    assert shown["content"] == "2 entries, 7 B, 1 catalog"
    assert shown["tags"] == "trunk (2), v1 (2), trunk-previous (1)"
    assert shown["published"].endswith("ago")
    assert "days left" in shown["whitelist"]
    assert result.stderr == ""


def test_the_same_as_json(repository):
    with repository.served() as base:
        result = run("status", FQRN, "--json", environment={"REPOSITORY_URL": f"{base}/"})
    shown = json.loads(result.stdout)
    assert (shown["revision"], shown["entries"], shown["bytes"], shown["catalogs"]) == (2, 2, 7, 1)
    assert shown["root_hash"] == str(repository.reader().manifest.root)
    assert 29 < shown["whitelist_days_left"] <= 30
    assert (shown["signatures_checked"], shown["problems"]) == (False, None)


def test_a_mount_point_is_one_path_although_two_catalogs_have_it(repository):
    nested = repository.tree / "nested"
    nested.mkdir()
    (nested / ".cvmfscatalog").touch()
    repository.published()
    with repository.served() as base:
        shown = json.loads(run("status", FQRN, "--url", base, "--json").stdout)
    assert (shown["entries"], shown["catalogs"]) == (len(["", *repository.paths()]), 2)


def test_an_unknown_repository_is_told_from_a_server_that_is_down(repository):
    with repository.served() as base:
        unknown = run("status", "nobody.example.org", "--url", base)
    down = run("status", FQRN, "--url", base)
    assert (unknown.exit_code, down.exit_code) == (1, 3)
    assert f"There is no repository at {base}/nobody.example.org." in unknown.stderr


def test_a_repository_under_another_name_is_refused(repository):
    with repository.served() as base:
        (repository.home / "site" / "alias.example.org").symlink_to(repository.folder)
        result = run("status", "alias.example.org", "--url", base)
    assert result.exit_code == 1
    assert f"'{FQRN}', expected 'alias.example.org'" in result.stderr


def test_without_a_stack_the_url_has_to_be_given(tmp_path):
    result = run("status", FQRN, "--folder", tmp_path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: No stack runs in {tmp_path}")
    assert "--url" in result.stderr


def test_the_running_stack_says_where_repositories_are_and_what_is_wrong(repository, monkeypatch):
    state = MemoryBlobStore()
    problem = Problem.of(
        UploadRefused("'cvmfs/a\\x1b[31m' has a control character in its name", code="key-bad-name"),
        repository=FQRN,
        bucket="sw",
        key="cvmfs/a\x1b[31m",
        etag="e",
        now=wiring.utc_now(),
    )
    state.put(problem.path, problem.to_bytes())
    monkeypatch.setattr(wiring, "build_state", lambda settings: state)
    stack = repository.home / "stack"
    stack.mkdir()
    with repository.served() as base:
        (stack / "stack.json").write_text(json.dumps({"repository_url": base, "settings": SETTINGS}))
        result = run("status", FQRN, "--folder", stack)
        shown = json.loads(run("status", FQRN, "--folder", stack, "--json").stdout)
        elsewhere = json.loads(run("status", FQRN, "--folder", stack, "--url", f"{base}/.", "--json").stdout)
    assert elsewhere["problems"] is None
    assert result.exit_code == 0, result.stderr
    assert "problems    1\n" in result.stdout
    assert "has a control character in its name\n    Rename or replace the object" in result.stdout
    assert "\x1b" not in result.stdout
    assert [found["code"] for found in shown["problems"]] == ["key-bad-name"]


def test_what_is_there_already_needs_no_waiting(repository):
    with repository.served() as base:
        result = run("wait", FQRN, "/file", "--url", base, "--key", repository.public_key)
    assert (result.exit_code, result.stdout) == (0, f"{FQRN} revision 2: /file is there.\n")


def test_a_path_that_appears_ends_the_waiting(repository):
    (repository.tree / "new").write_bytes(b"new")
    with repository.served() as base:
        publisher = threading.Timer(0.3, repository.publish)
        publisher.start()
        result = run("wait", FQRN, "/new", "--url", base, "--timeout", "60")
        publisher.join()
    assert (result.exit_code, result.stdout) == (0, f"{FQRN} revision 3: /new is there.\n")


def test_a_repository_that_appears_ends_the_waiting_too(repository):
    with repository.served() as base:
        manifest = repository.folder / ".cvmfspublished"
        hidden = manifest.rename(repository.folder / "hidden")
        publisher = threading.Timer(0.3, lambda: hidden.rename(manifest))
        publisher.start()
        result = run("wait", FQRN, "/file", "--url", base, "--timeout", "60")
        publisher.join()
    assert result.exit_code == 0, result.stderr


def test_content_and_absence_can_be_waited_for(repository):
    digest = hashlib.sha256(b"content").hexdigest()
    with repository.served() as base:
        assert run("wait", FQRN, "/file", "--url", base, "--sha256", digest.upper()).exit_code == 0
        assert run("wait", FQRN, "/nothing", "--url", base, "--absent").exit_code == 0


NOT_YET = [
    pytest.param(("/nothing",), "/nothing: is not there after 0 s", id="not there"),
    pytest.param(("/file", "--absent"), "/file: is there after 0 s", id="still there"),
    pytest.param(("/file", "--sha256", "0" * 64), "/file: is there, with other content after 0 s", id="other content"),
    pytest.param(("/", "--sha256", "0" * 64), "/: is there, but is no regular file after 0 s", id="a directory"),
]


@pytest.mark.parametrize(("what", "reason"), NOT_YET)
def test_what_does_not_come_in_time_ends_with_three_and_a_next_step(repository, what, reason):
    with repository.served() as base:
        result = run("wait", FQRN, *what, "--url", base, "--timeout", "0")
    assert result.exit_code == 3
    assert reason in result.stderr
    assert "cvmfs-cloud status" in result.stderr


def test_a_server_that_is_down_is_waited_for_and_told(repository):
    with repository.served() as base:
        pass
    result = run("wait", FQRN, "/file", "--url", base, "--timeout", "0")
    assert result.exit_code == 3
    assert "unknown (" in result.stderr


def test_content_of_what_is_gone_makes_no_sense():
    result = run("wait", FQRN, "/file", "--url", "http://127.0.0.1:1", "--absent", "--sha256", "0" * 64)
    assert result.exit_code == 2


def test_what_is_no_sha_256_hash_is_wrong_usage():
    result = run("wait", FQRN, "/file", "--url", "http://127.0.0.1:1", "--sha256", "abc")
    assert (result.exit_code, "64 hexadecimal digits" in result.stderr) == (2, True)


def test_a_file_that_is_no_public_key_is_told_as_such(repository, tmp_path):
    (tmp_path / "note").write_text("no key")
    with repository.served() as base:
        result = run("status", FQRN, "--url", base, "--key", tmp_path / "note")
    assert result.exit_code == 2
    assert f"Invalid value for --key: {tmp_path / 'note'} is no public key" in result.stderr
