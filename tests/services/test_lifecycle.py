"""What owners ask of their repositories, on real servers, through the command line and the gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import hvac
import pytest
from typer.testing import CliRunner

from functions.cvmfs.whitelist import SignedWhitelist
from functions.errors import RepositoryUnknown
from functions.local.stack import Stack
from functions.publishing.records import RepositoryRecord, Standing, load_record
from functions.settings import Settings
from functions.wiring import build_state
from gateway.cli.app import app
from tests.services.test_whole_service import Service, User, eventually

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Stack(tmp_path_factory.mktemp("stack"), store="memstore") as stack:
        stack.wait_for_notifications()
        yield Service(stack)


@pytest.fixture(scope="module")
def alice(service: Service) -> User:
    return service.request("alice")


def asked(service: Service, *arguments: str) -> str:
    """A command of an owner that is waited for."""
    result = CliRunner().invoke(app, [*arguments, "--wait", "--folder", str(service.stack.folder)])
    assert result.exit_code == 0, result.output
    return result.stdout


def record_of(service: Service, fqrn: str) -> RepositoryRecord:
    return load_record(build_state(Settings.from_mapping(service.stack.settings_mapping())), fqrn)


def published(user: User, key: str, body: bytes) -> None:
    user.put(key, body)
    eventually(lambda: user.content(f"/{key}") == body, key)


def settled(service: Service) -> None:
    """Return when every notification has been handled, and every change published or left."""
    for queue in ("fn.handle-bucket-notification", "fn.publish-transaction"):
        eventually(lambda name=queue: service.queue(name) + service.queue(f"{name}.retry") == 0, f"{queue} to be empty")  # type: ignore[misc]
    time.sleep(1)


def test_a_tagged_state_can_be_gone_back_to_and_stays(service: Service, alice: User) -> None:
    published(alice, "a", b"good")
    assert asked(service, "tag", alice.fqrn, "-a", "v1") == f"Added v1 in {alice.fqrn}.\n"
    published(alice, "a", b"bad")
    published(alice, "b", b"bad too")
    asked(service, "rollback", alice.fqrn, "-t", "v1", "--yes")
    assert (alice.content("/a"), alice.content("/b")) == (b"good", None)
    published(alice, "c", b"new")
    assert (alice.content("/a"), alice.content("/b")) == (b"good", None)
    published(alice, "b", b"good too")
    assert alice.content("/a") == b"good"
    asked(service, "rollback", alice.fqrn, "--release")
    alice.delete("b")
    eventually(lambda: alice.content("/b") is None, "the removal")
    assert alice.check() == []


def test_a_suspended_repository_takes_nothing_in_until_it_is_resumed(service: Service, alice: User) -> None:
    asked(service, "repository", "suspend", alice.fqrn, "-m", "moving house")
    alice.put("while/suspended", b"1")
    settled(service)
    assert alice.content("/while/suspended") is None
    asked(service, "repository", "resume", alice.fqrn)
    published(alice, "after/it", b"2")
    assert service.parked("handle-bucket-notification") == []


def test_settings_hold_for_what_comes_next(service: Service, alice: User) -> None:
    asked(service, "repository", "set", alice.fqrn, "unpack_archives=false")
    assert not record_of(service, alice.fqrn).settings.unpack_archives
    result = CliRunner().invoke(
        app, ["repository", "set", alice.fqrn, "colour=1", "--wait", "--folder", str(service.stack.folder)]
    )
    assert (result.exit_code, "There is no setting colour" in result.output) == (1, True)


def test_a_whitelist_is_signed_again_by_vault(service: Service, alice: User) -> None:
    def issued() -> datetime:
        body = alice.reader.fetch(".cvmfswhitelist")
        assert body is not None
        return SignedWhitelist.from_bytes(body).unverified.issued

    before = issued()
    time.sleep(1.1)
    asked(service, "resign", alice.fqrn)
    assert before < issued() <= datetime.now(UTC)
    assert alice.check() == []


def test_garbage_is_collected_beside_the_publisher(service: Service, alice: User) -> None:
    asked(service, "gc", alice.fqrn, "--yes")
    assert alice.reader.fetch(".cvmfs_status.json") != b"{}\n"
    assert alice.check() == []


def test_a_repository_is_deleted_with_its_keys_and_the_name_can_be_had_again(service: Service, alice: User) -> None:
    old_key = alice.public_key
    asked(service, "repository", "delete", alice.fqrn, "--destroy-keys", "--yes")
    s3 = service.stack.ceph.client("s3")
    assert s3.list_objects_v2(Bucket="cvmfs", Prefix=f"{alice.fqrn}/")["KeyCount"] == 0
    assert alice.reader.fetch(".cvmfspublished") is None
    assert s3.get_bucket_notification_configuration(Bucket=alice.name).get("TopicConfigurations", []) == []
    assert {"cvmfs/a", "cvmfs/c"} <= {found["Key"] for found in s3.list_objects_v2(Bucket=alice.name)["Contents"]}
    with pytest.raises(hvac.exceptions.InvalidPath):
        _ = alice.public_key
    record = record_of(service, alice.fqrn)
    assert (record.standing, record.last_revision > 1) == (Standing.DELETED, True)
    alice.put("late", b"1")
    settled(service)
    assert service.parked("handle-bucket-notification") == []
    again = service.request("alice")
    assert again.public_key != old_key
    published(again, "fresh", b"start")
    assert again.check() == []
    body = again.reader.fetch(".cvmfspublished")
    assert body is not None
    revision = next(int(line[1:]) for line in body.split(b"\n") if line.startswith(b"S"))
    assert revision > record.last_revision


def test_nobodys_repository_is_told_at_once(service: Service) -> None:
    with pytest.raises(RepositoryUnknown):
        record_of(service, "nobody.infn.it")
    result = CliRunner().invoke(
        app, ["repository", "suspend", "nobody.infn.it", "--wait", "--folder", str(service.stack.folder)]
    )
    assert result.exit_code == 1
