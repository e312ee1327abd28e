"""The repository commands on ``s3://`` storages of a real RadosGW, down to a client that reads over plain HTTP."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tests.cli_repository import FQRN, run
from tests.services.conftest import Servers

pytestmark = pytest.mark.services


class S3Repository:
    """A repository in the public bucket, and the command line in an environment that leads there."""

    def __init__(self, servers: Servers, home) -> None:
        endpoints = servers.ceph.endpoints
        self.home = home
        self.prefix = uuid4().hex
        self.storage = f"s3://cvmfs/{self.prefix}/{FQRN}"
        self.url = f"{endpoints.s3_url}/cvmfs/{self.prefix}/{FQRN}"
        self.keys = home / "keys"
        self.key = ("--key", self.keys / f"{FQRN}.pub")
        self.environment = {
            "AWS_ENDPOINT_URL": endpoints.s3_url,
            "AWS_ENDPOINT_URL_S3": None,
            "AWS_REGION": endpoints.region,
            "AWS_ACCESS_KEY_ID": endpoints.service.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoints.service.secret_key.get_secret_value(),
        }
        self.tree = home / "tree"
        self.tree.mkdir()

    def run(self, *arguments):
        return run("repo", *arguments, environment=self.environment)

    def done(self, *arguments):
        result = self.run(*arguments)
        assert result.exit_code == 0, result.stdout + result.stderr
        return result.stdout

    def changed(self, command, *arguments):
        return self.done(command, *arguments, "--storage", self.storage, "--keys", self.keys)


@pytest.fixture
def repository(servers, tmp_path):
    return S3Repository(servers, tmp_path)


def test_a_repository_lives_in_a_bucket(repository):
    made = repository.changed("mkfs", FQRN, "--server-info")
    assert made.startswith(f"Made {FQRN}, revision 1, in {repository.storage}.")
    (repository.tree / "tool").write_bytes(b"#!/bin/sh\n")
    (repository.tree / "big").write_bytes(bytes(9 << 20))
    assert "revision 2" in repository.changed("publish", "--from", repository.tree, "--tag", "v2")
    (repository.tree / "tool").write_bytes(b"#!/bin/bash\n")
    assert "revision 3" in repository.changed("publish", "--from", repository.tree)

    assert repository.done("tag", repository.storage, "--keys", repository.keys, "-a", "v1", "-h", "1")
    assert repository.done("tag", repository.storage, "--keys", repository.keys, "-r", "v1").startswith("Removed v1")
    tags = json.loads(repository.done("tag", repository.url, *repository.key, "--json"))
    assert {tag["name"]: tag["revision"] for tag in tags}.items() >= {"trunk": 3, "trunk-previous": 2, "v2": 2}.items()

    assert "which is now revision 4" in repository.changed("rollback", "-t", "v2")
    assert "Signed the whitelist" in repository.changed("resign")
    assert "Signed the whitelist" in repository.changed("resign", "--new-key")
    (repository.tree / "more").touch()
    assert "revision 5" in repository.changed("publish", "--from", repository.tree)

    for location in (repository.storage, repository.url):
        assert repository.done("ls", location, *repository.key) == "big\nmore\ntool\n"
        assert repository.done("cat", location, "/tool", *repository.key) == "#!/bin/bash\n"
        checked = repository.done("check", location, *repository.key, "--data", "--all-tags", "--fqrn", FQRN)
        assert "nothing is broken" in checked
    assert repository.done("ls", repository.storage, "--tag", "v2", *repository.key) == "big\ntool\n"
    assert "can be published to" in repository.changed("import", FQRN)

    listed = json.loads(repository.done("update-info", "--storage", repository.storage, "--json"))
    assert listed["repositories"] == [{"name": FQRN, "url": f"/cvmfs/{FQRN}"}]
    again = repository.run("mkfs", FQRN, "--storage", repository.storage, "--keys", repository.keys)
    assert (again.exit_code, f"{repository.storage} holds {FQRN} already" in again.stderr) == (1, True)


def test_what_is_wrong_with_the_storage_is_said(repository):
    nothing = repository.run("publish", "--from", repository.tree, "--storage", "s3://cvmfs/none", "--keys", "none")
    assert (nothing.exit_code, "There is no repository in s3://cvmfs/none." in nothing.stderr) == (1, True)
    no_bucket = repository.run("ls", f"s3://{uuid4().hex}/x")
    assert (no_bucket.exit_code, "does not exist" in no_bucket.stderr) == (3, True)
    repository.environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
    refused = repository.run("mkfs", FQRN, "--storage", repository.storage, "--keys", repository.keys)
    assert refused.exit_code == 3
    assert "wrong" not in refused.stderr


def test_garbage_in_a_bucket_is_collected(repository):
    repository.changed("mkfs", FQRN, "-g")
    for content in (bytes(9 << 20), b"second", b"third"):
        (repository.tree / "file").write_bytes(content)
        repository.changed("publish", "--from", repository.tree)
    said = json.loads(repository.changed("gc", "-r", "0", "--grace", "0", "--dry-run", "--json"))
    done = json.loads(repository.changed("gc", "-r", "0", "--grace", "0", "--json"))
    assert done == said | {"dry_run": False}
    assert done["deleted_objects"] >= 5
    assert json.loads(repository.changed("gc", "-r", "0", "--grace", "0", "--json"))["deleted_objects"] == 0
    checked = repository.done("check", repository.url, *repository.key, "--data", "--all-tags")
    assert "0 findings, nothing is broken" in checked
    assert repository.done("cat", repository.url, "/file", *repository.key) == "third"
