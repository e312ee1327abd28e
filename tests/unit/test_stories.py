"""What users do, what goes wrong on the way, and what a verifying reader sees in the end."""

import io
import json
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace

import pytest
from cloudevents.http import CloudEvent

from events import RepositoryPublished
from events.types import RECONCILIATION_REQUESTED
from functions.cvmfs.address import HashAlgorithm
from functions.errors import BrokerUnavailable, StoreUnavailable
from functions.publishing.archive_rules import ArchiveLimits
from tests.world import World


def content(world: World, path: str, fqrn: str = "alice.infn.it") -> bytes | None:
    """What a worker node reads at a path, or None."""
    with world.reader(fqrn) as snapshot:
        return snapshot.read(path) if snapshot.lookup(path) is not None else None


def names(world: World, path: str = "") -> list[str]:
    with world.reader() as snapshot:
        return [name for name, _ in snapshot.listing(path)]


def tar_gz(*members: tuple[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, body in members:
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return packed.getvalue()


# Repositories


def test_a_requested_repository_can_be_mounted(world: World) -> None:
    fqrn = world.repository()
    assert world.revision(fqrn) == 1
    assert names(world) == []
    assert "alice" in world.buckets.notified
    assert world.store_of(fqrn).has(".cvmfs_master_replica")


def test_a_group_has_a_repository_of_its_own(world: World) -> None:
    assert world.repository("alice", group="physics") == "physics.infn.it"
    world.upload("cvmfs/a", b"1", bucket="physics")
    world.run_until_quiet()
    assert content(world, "/a", "physics.infn.it") == b"1"


def test_asking_twice_changes_nothing(world: World) -> None:
    world.repository()
    before = world.store_of("alice.infn.it").get(".cvmfspublished")
    world.repository()
    assert world.store_of("alice.infn.it").get(".cvmfspublished") == before


def test_somebody_elses_repository_is_refused_and_answered(world: World) -> None:
    world.repository("alice")
    wanted = world.bus.published[0]
    stolen = json.loads(json.dumps(wanted.get_data())) | {"subject": "sub-mallory"}
    world.bus.reply("fn.store-keys", _structured(wanted, stolen))
    world.run_until_quiet()
    (parked,) = world.bus.parked("store-keys")
    assert "another owner" in parked.headers["x-parked-reason"]
    refused = [event for event in world.bus.published if event["type"].endswith("repository.refused")]
    assert refused[0].get_data()["subject"] == "sub-mallory"


def test_a_user_cannot_ask_for_a_name_that_is_not_theirs(world: World) -> None:
    world.request("mallory")
    world.bus.pop("fn.store-keys")
    wanted = world.bus.published[-1].get_data() | {"repository": "alice.infn.it"}
    world.bus.reply("fn.store-keys", _structured(world.bus.published[-1], wanted, subject="alice.infn.it"))
    world.run_until_quiet()
    assert world.stores == {}
    assert "alice" in world.bus.parked("store-keys")[0].headers["x-parked-reason"]


@pytest.mark.parametrize("crash_after", range(1, 14))
def test_a_creation_that_dies_anywhere_is_finished_by_the_next_delivery(world: World, crash_after: int) -> None:
    fqrn = world.request()
    store = world.store_of(fqrn)
    _fail_after(store, crash_after)
    world.deliver("store-keys")
    world.deliver("create-repository")
    store.__dict__.pop("_write", None)
    world.forget()
    world.run_until_quiet()
    assert world.revision(fqrn) == 1
    assert names(world) == []


# Uploads


def test_an_upload_becomes_visible(world: World) -> None:
    world.repository()
    world.upload("cvmfs/bin/tool", b"#!/bin/sh\n")
    world.run_until_quiet()
    with world.reader() as snapshot:
        entry = snapshot.lookup("/bin/tool")
        assert entry is not None
        assert (entry.mode, snapshot.read("/bin/tool")) == (0o100755, b"#!/bin/sh\n")


def test_modes_times_links_and_markers_follow_the_metadata(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1", mode="100600", mtime="1700000000.5")
    world.upload("cvmfs/l.rclonelink", b"a", mode="120777")
    world.upload("cvmfs/s3fs-link", b"../a", mode="41471")
    world.upload("cvmfs/kept/")
    world.run_until_quiet()
    with world.reader() as snapshot:
        entries = dict(snapshot.walk())
    assert (entries["/a"].mode, entries["/a"].mtime) == (0o100644, 1_700_000_000)
    assert (entries["/l"].symlink, entries["/s3fs-link"].symlink) == ("a", "../a")
    assert entries["/kept"].is_directory


def test_a_removed_object_disappears_with_its_empty_directories(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a/b/c", b"1")
    world.upload("cvmfs/kept/")
    world.upload("cvmfs/kept/x", b"1")
    world.run_until_quiet()
    world.delete("cvmfs/a/b/c")
    world.delete("cvmfs/kept/x")
    world.run_until_quiet()
    assert names(world) == ["kept"]


def test_a_large_file_is_stored_in_chunks(world: World) -> None:
    world.repository()
    body = bytes(range(256)) * (40 << 12)
    world.upload("cvmfs/big", body)
    world.run_until_quiet()
    with world.reader() as snapshot:
        entry = snapshot.lookup("/big")
        assert entry is not None
        assert len(entry.chunks) > 1
        assert snapshot.read("/big") == body


def test_what_arrives_together_is_published_together(world: World) -> None:
    world.repository()
    for number in range(50):
        world.upload(f"cvmfs/{number}", b"x")
    while world.deliver("handle-bucket-notification"):
        pass
    world.run_until_quiet()
    assert world.revision() == 2
    assert len(names(world)) == 50


def test_everything_delivered_twice_ends_the_same(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.upload("cvmfs/b", b"2")
    world.notify("ObjectCreated:Put", "cvmfs/a", "cvmfs/b", "cvmfs/a")
    world.run_until_quiet()
    revision = world.revision()
    world.notify("ObjectCreated:Put", "cvmfs/a", "cvmfs/b")
    world.run_until_quiet()
    assert world.revision() == revision
    assert names(world) == ["a", "b"]


def test_the_bucket_counts_and_not_the_event(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.source.delete("alice", "cvmfs/a")
    world.source.put("alice", "cvmfs/b", b"2")
    world.notify("ObjectRemoved:Delete", "cvmfs/b")
    world.run_until_quiet()
    assert names(world) == ["b"]


def test_a_thousand_changes_split_the_catalog_and_the_reader_does_not_notice(world: World) -> None:
    world.repository()
    for folder in range(4):
        for number in range(3000):
            world.source.put("alice", f"cvmfs/d{folder}/{number}", b"")
    keys = [f"cvmfs/d{folder}/{number}" for folder in range(4) for number in range(3000)]
    for start in range(0, len(keys), 3000):
        world.notify("ObjectCreated:Put", *keys[start : start + 3000])
    world.run_until_quiet()
    with world.reader() as snapshot:
        assert (
            len([path for path, entry in snapshot.walk() if not path.endswith("catalog") and not entry.is_directory])
            == 12_000
        )
        assert len(list(snapshot.catalogs())) > 1


# Archives


def test_an_archive_is_unpacked_beside_its_name(world: World) -> None:
    world.repository()
    world.upload("cvmfs/sw/tool-1.0.tar.gz", tar_gz(("tool-1.0/bin/run", b"#!/bin/sh\n"), ("tool-1.0/README", b"hi")))
    world.run_until_quiet()
    assert content(world, "/sw/tool-1.0/README") == b"hi"
    with world.reader() as snapshot:
        entry = snapshot.lookup("/sw/tool-1.0")
        assert entry is not None
        assert entry.is_nested_root


def test_a_new_archive_of_the_same_name_replaces_the_tree_and_its_removal_removes_it(world: World) -> None:
    world.repository()
    world.upload("cvmfs/t.tar.gz", tar_gz(("old", b"1"), ("same", b"1")))
    world.run_until_quiet()
    world.upload("cvmfs/t.tar.gz", tar_gz(("new", b"2"), ("same", b"1")))
    world.run_until_quiet()
    assert names(world, "/t") == [".cvmfscatalog", "new", "same"]
    world.delete("cvmfs/t.tar.gz")
    world.run_until_quiet()
    assert names(world) == []


def zipped(*members: tuple[zipfile.ZipInfo | str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, body in members:
            archive.writestr(member, body)
    return packed.getvalue()


@pytest.mark.parametrize("late", [False, True], ids=["archive seen first", "archive seen last"])
def test_files_uploaded_after_an_archive_stay_in_its_directory_whatever_is_seen_first(world: World, late: bool) -> None:
    world.repository()
    world.source.put("alice", "cvmfs/t/hidden", b"older than the archive")
    world.source.put("alice", "cvmfs/t.tar.gz", tar_gz(("lib/a", b"1"), ("hidden", b"2"), ("file", b"3")))
    world.source.put("alice", "cvmfs/t/lib/extra", b"4")
    world.source.put("alice", "cvmfs/t/file/below", b"5")
    keys = ["cvmfs/t/hidden", "cvmfs/t/lib/extra", "cvmfs/t/file/below"]
    for batch in [keys, ["cvmfs/t.tar.gz"]] if late else [["cvmfs/t.tar.gz"], keys]:
        world.notify("ObjectCreated:Put", *batch)
        world.run_until_quiet()
    assert content(world, "/t/lib/a") == b"1"
    assert content(world, "/t/lib/extra") == b"4"
    assert content(world, "/t/file/below") == b"5"
    assert content(world, "/t/hidden") == b"2"
    assert "cvmfs/t/hidden" in world.problems()
    world.delete("cvmfs/t.tar.gz")
    world.run_until_quiet()
    assert names(world, "/t") == ["file", "hidden", "lib"]
    assert content(world, "/t/lib/extra") == b"4"
    assert content(world, "/t/hidden") == b"older than the archive"
    assert world.problems() == {}


def test_a_directory_marker_beside_an_archive_changes_nothing_until_the_archive_goes(world: World) -> None:
    world.repository()
    world.upload("cvmfs/t.tar.gz", tar_gz(("a", b"1")))
    world.run_until_quiet()
    world.upload("cvmfs/t/")
    world.run_until_quiet()
    assert content(world, "/t/a") == b"1"
    world.delete("cvmfs/t.tar.gz")
    world.run_until_quiet()
    assert names(world) == ["t"]
    assert names(world, "/t") == []


def unix_member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name, (2026, 1, 2, 3, 4, 6))
    member.create_system, member.external_attr = 3, mode << 16
    return member


def test_a_zip_is_unpacked_with_modes_times_and_links(world: World) -> None:
    world.repository()
    body = zipped(
        (unix_member("tool/bin/run", 0o100700), b"#!/bin/sh\n"),
        (unix_member("tool/bin/latest", 0o120777), b"run"),
        ("tool/plain.txt", bytes(range(256)) * 20_000),
    )
    world.upload("cvmfs/tool.zip", body)
    world.run_until_quiet()
    with world.reader() as snapshot:
        entries = dict(snapshot.walk("/tool"))
        assert snapshot.read("/tool/plain.txt") == bytes(range(256)) * 20_000
    assert (entries["/tool/bin/run"].mode, entries["/tool/bin/run"].mtime) == (0o100755, 1_767_323_046)
    assert entries["/tool/bin/latest"].symlink == "run"


def _encrypted() -> bytes:
    body = bytearray(zipped(("secret", b"1")))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        body[body.index(signature) + offset] |= 1
    return bytes(body)


def _evil(name: str, **attributes: object) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        member = tarfile.TarInfo(name)
        for attribute, value in attributes.items():
            setattr(member, attribute, value)
        tar.addfile(member)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        pytest.param("e.tar.gz", tar_gz(), "archive-empty", id="nothing in it"),
        pytest.param("e.tar", b"", "archive-broken", id="no bytes at all"),
        pytest.param("b.tar.gz", b"this is no archive", "archive-broken", id="no archive"),
        pytest.param("b.tar.gz", tar_gz(("a", bytes(range(256)) * 400))[:-200], "archive-broken", id="cut short"),
        pytest.param("b.tar.zst", b"(\xb5/\xfdgarbage", "archive-broken", id="damaged zstd"),
        pytest.param("x.tar", _evil("../up"), "archive-unsafe-member", id="climbs out"),
        pytest.param("x.tar", _evil("/etc/passwd"), "archive-unsafe-member", id="absolute name"),
        pytest.param("x.tar", _evil("d", type=tarfile.CHRTYPE), "archive-unsafe-member", id="a device"),
        pytest.param("x.tar", _evil("f", type=tarfile.FIFOTYPE), "archive-unsafe-member", id="a fifo"),
        pytest.param(
            "x.tar", _evil("l", type=tarfile.SYMTYPE, linkname="../../up"), "archive-unsafe-member", id="a link out"
        ),
        pytest.param(
            "x.tar",
            _evil("h", type=tarfile.LNKTYPE, linkname="nothing"),
            "archive-unsafe-member",
            id="a hard link to nothing",
        ),
        pytest.param("x.tar", _evil("a\nb"), "archive-unsafe-member", id="a control character"),
        pytest.param("z.zip", zipped(), "archive-empty", id="a zip with nothing in it"),
        pytest.param("z.zip", zipped(("a", b"1"))[:-30], "archive-broken", id="a zip cut short"),
        pytest.param("z.zip", zipped(("../up", b"1")), "archive-unsafe-member", id="a zip that climbs out"),
        pytest.param("z.zip", _encrypted(), "archive-unsafe-member", id="an encrypted zip"),
    ],
)
def test_a_bad_archive_is_refused_with_a_reason_and_harms_nothing_else(
    world: World, name: str, body: bytes, code: str
) -> None:
    world.repository()
    world.upload(f"cvmfs/{name}", body)
    world.upload("cvmfs/good", b"1")
    world.notify("ObjectCreated:Put", f"cvmfs/{name}", "cvmfs/good")
    world.run_until_quiet()
    assert names(world) == ["good"]
    problem = world.problems()[f"cvmfs/{name}"]
    assert problem.code == code
    assert problem.hint
    world.delete(f"cvmfs/{name}")
    world.run_until_quiet()
    assert world.problems() == {}


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        pytest.param(ArchiveLimits(members=2), "archive-too-many-members", id="too many members"),
        pytest.param(ArchiveLimits(content_bytes=1000), "archive-too-large", id="too many bytes"),
        pytest.param(ArchiveLimits(ratio=2, ratio_from_bytes=100), "archive-bomb", id="a bomb"),
    ],
)
def test_an_archive_beyond_its_limits_is_refused_early(world: World, limits: ArchiveLimits, code: str) -> None:
    world.repository()
    world.cloud = replace(world.cloud, archive_limits=limits)
    world.upload("cvmfs/a.tar.gz", tar_gz(*((str(number), bytes(600)) for number in range(3))))
    world.run_until_quiet()
    assert world.problems()["cvmfs/a.tar.gz"].code == code
    assert names(world) == []


def test_a_repaired_archive_clears_its_problem(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a.tar.gz", b"broken")
    world.run_until_quiet()
    assert list(world.problems()) == ["cvmfs/a.tar.gz"]
    world.upload("cvmfs/a.tar.gz", tar_gz(("x", b"1")))
    world.run_until_quiet()
    assert world.problems() == {}
    assert content(world, "/a/x") == b"1"


# Bad input


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b'{"Records"', "not JSON", id="broken JSON"),
        pytest.param(b"{}", "Records", id="no records at all"),
        pytest.param(b'{"Records": 1}', "Records", id="records that are no list"),
    ],
)
def test_a_message_that_is_no_notification_is_parked(world: World, body: bytes, reason: str) -> None:
    from cloudevents.http import CloudEvent

    from functions.answers import answer
    from tests.world import STEPS

    event = CloudEvent({"type": "dev.knative.rabbitmq.event", "source": "/rabbitmq", "id": "1"}, body)
    ending = answer(
        STEPS["handle-bucket-notification"], event, world.cloud, bus=world.bus, clock=world.clock, retry_for_s=60
    )
    assert ending.status == 204
    (parked,) = world.bus.parked("handle-bucket-notification")
    assert reason in parked.headers["x-parked-reason"]


def test_a_broken_record_does_not_harm_its_neighbours(world: World) -> None:
    world.repository()
    world.source.put("alice", "cvmfs/a", b"1")
    good = world.record("ObjectCreated:Put", "cvmfs/a")
    records = [{"eventName": 7}, good, world.record("ObjectCreated:Put", "cvmfs/x", "nobodys-bucket"), None]
    world.bus.reply("fn.handle-bucket-notification", json.dumps({"Records": records}).encode())
    world.run_until_quiet()
    assert names(world) == ["a"]
    reasons = [message.headers["x-parked-reason"] for message in world.bus.parked("handle-bucket-notification")]
    assert len(reasons) == 3
    assert any("nobodys-bucket.infn.it" in reason for reason in reasons)


@pytest.mark.parametrize(
    "key", ["cvmfs/../up", "cvmfs/a//b", "cvmfs/a\x07b", "cvmfs/.cvmfspublished", "cvmfs/a/.cvmfsautocatalog"]
)
def test_a_key_that_cannot_be_published_becomes_a_problem(world: World, key: str) -> None:
    world.repository()
    world.upload(key, b"1")
    world.upload("cvmfs/good", b"1")
    world.run_until_quiet()
    assert names(world) == ["good"]
    assert list(world.problems()) == [key]
    refused = [event.get_data() for event in world.bus.published if event["type"].endswith("upload.refused")]
    assert refused[0]["key"] == key
    world.delete(key)
    world.run_until_quiet()
    assert world.problems() == {}


def test_keys_outside_the_area_are_none_of_our_business(world: World) -> None:
    world.repository()
    world.upload("private/a", b"1")
    world.run_until_quiet()
    assert world.revision() == 1
    assert world.problems() == {}


def test_the_newer_of_a_file_and_a_directory_wins_and_the_user_is_told(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"file")
    world.run_until_quiet()
    world.upload("cvmfs/a/b", b"below")
    world.run_until_quiet()
    assert content(world, "/a/b") == b"below"
    assert list(world.problems()) == ["cvmfs/a"]
    world.upload("cvmfs/a", b"newer file")
    world.run_until_quiet()
    assert content(world, "/a") == b"newer file"
    assert list(world.problems()) == ["cvmfs/a/b"]


def test_an_older_object_does_not_displace_a_newer_one(world: World) -> None:
    world.repository()
    world.source.put("alice", "cvmfs/a/b", b"older")
    world.upload("cvmfs/a", b"newer")
    world.run_until_quiet()
    world.notify("ObjectCreated:Put", "cvmfs/a/b")
    world.run_until_quiet()
    assert content(world, "/a") == b"newer"
    assert world.problems()["cvmfs/a/b"].code == "path-clash"


# Faults


def test_an_object_that_nobody_was_prepared_for_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.repository()
    for key in ("cvmfs/a", "cvmfs/b", "cvmfs/c"):
        world.source.put("alice", key, b"1")
    real = world.source.open

    def opened(bucket: str, key: str) -> object:
        if key == "cvmfs/b":
            raise ZeroDivisionError
        return real(bucket, key)

    monkeypatch.setattr(world.source, "open", opened)
    world.notify("ObjectCreated:Put", "cvmfs/a", "cvmfs/b", "cvmfs/c")
    world.deliver("handle-bucket-notification")
    assert (world.answers[-1].status, world.answers[-1].code) == (503, "unexpected")
    world.deliver("publish-transaction")
    assert names(world) == ["a", "c"]
    monkeypatch.undo()
    world.run_until_quiet()
    assert names(world) == ["a", "b", "c"]


def test_a_store_that_is_down_loses_nothing(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.store_of("alice.infn.it").available = False
    for _ in range(3):
        world.deliver("handle-bucket-notification")
    assert {answer.status for answer in world.answers[-3:]} == {503}
    world.store_of("alice.infn.it").available = True
    world.run_until_quiet()
    assert content(world, "/a") == b"1"


def test_a_sealed_vault_delays_the_revision(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.deliver("handle-bucket-notification")
    world.keys.available = False
    world.deliver("publish-transaction")
    assert world.answers[-1].status == 503
    assert world.revision() == 1
    world.keys.available = True
    world.run_until_quiet()
    assert content(world, "/a") == b"1"


@pytest.mark.parametrize("crash_after", range(1, 8))
def test_a_publisher_that_dies_at_any_write_leaves_the_old_or_the_new_revision(world: World, crash_after: int) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.run_until_quiet()
    world.upload("cvmfs/b", b"2")
    world.deliver("handle-bucket-notification")
    store = world.store_of("alice.infn.it")
    _fail_after(store, crash_after)
    world.deliver("publish-transaction")
    store.__dict__.pop("_write", None)
    assert names(world) in (["a"], ["a", "b"])
    world.forget()
    world.run_until_quiet()
    assert names(world) == ["a", "b"]
    assert world.revision() == 3


def test_two_publishers_on_one_repository_lose_nothing(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.upload("cvmfs/b", b"2")
    while world.deliver("handle-bucket-notification"):
        pass
    store = world.store_of("alice.infn.it")
    replace = store.replace

    def overtaken(path: str, body: bytes, version: str) -> str:
        """Somebody else publishes just before the first manifest swap."""
        if path == ".cvmfspublished":
            store.replace = replace  # type: ignore[method-assign]
            other = world.fresh_process().publisher("alice.infn.it")
            from functions.cvmfs.entry import Entry

            other.publish(lambda tree, marker: tree.put("/other", Entry.directory(mtime=1)))
        return replace(path, body, version)

    store.replace = overtaken  # type: ignore[method-assign]
    world.run_until_quiet()
    assert names(world) == ["a", "b", "other"]


def test_a_revision_is_announced_even_if_its_publisher_died_before_telling(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.deliver("handle-bucket-notification")
    publish = world.bus.publish

    def down(events: object) -> None:
        raise StoreUnavailable("killed before telling")

    world.bus.publish = down  # type: ignore[method-assign,assignment]
    world.deliver("publish-transaction")
    world.bus.publish = publish  # type: ignore[method-assign]
    assert world.revision() == 2
    world.run_until_quiet()
    facts = [event for event in world.bus.published if event["type"] == RepositoryPublished.TYPE]
    assert [event["id"] for event in facts] == ["alice.infn.it@2"]
    assert world.revision() == 2


def test_an_event_that_never_succeeds_is_parked_after_its_time(world: World) -> None:
    world.repository()
    world.upload("cvmfs/a", b"1")
    world.store_of("alice.infn.it").available = False
    world.clock.now = world.clock.now.replace(year=world.clock.now.year + 1)
    world.deliver("handle-bucket-notification")
    (parked,) = world.bus.parked("handle-bucket-notification")
    assert "given up" in parked.headers["x-parked-reason"]


def test_the_hash_algorithm_of_a_repository_stays_its_own(world: World) -> None:
    world.repository()
    with world.reader() as snapshot:
        assert snapshot.root.algorithm is HashAlgorithm.SHA1


def _fail_after(store: object, writes: int) -> None:
    """Let a store in memory fail from its n-th write on, as a publisher that is killed there."""
    write = store._write  # type: ignore[attr-defined]
    left = writes

    def failing(path: str, body: bytes) -> str:
        nonlocal left
        left -= 1
        if left < 0:
            raise StoreUnavailable("killed here")
        return write(path, body)

    store._write = failing  # type: ignore[attr-defined]


def _structured(event: object, data: dict[str, object], **attributes: str) -> bytes:
    from cloudevents.conversion import to_structured
    from cloudevents.http import CloudEvent

    changed = CloudEvent(dict(event.get_attributes()) | attributes, data)  # type: ignore[attr-defined]
    return bytes(to_structured(changed)[1])


def test_a_member_comes_back_though_the_publisher_died_before_it_asked_for_its_archive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.repository()
    world.upload("cvmfs/t.tar.gz", tar_gz(("lib/a", b"1")))
    world.run_until_quiet()
    world.upload("cvmfs/t/lib/a", b"instead")
    world.run_until_quiet()
    assert content(world, "/t/lib/a") == b"instead"
    _die_at_the_next_wish_for_a_look(world, monkeypatch)
    world.delete("cvmfs/t/lib/a")
    world.run_until_quiet()
    assert content(world, "/t/lib/a") == b"1"


def test_uploads_come_back_though_the_publisher_died_after_it_removed_their_archive(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.repository()
    world.source.put("alice", "cvmfs/t/hidden", b"older than the archive")
    world.upload("cvmfs/t.tar.gz", tar_gz(("hidden", b"2")))
    world.run_until_quiet()
    _die_at_the_next_wish_for_a_look(world, monkeypatch)
    world.delete("cvmfs/t.tar.gz")
    world.run_until_quiet()
    assert content(world, "/t/hidden") == b"older than the archive"


def _die_at_the_next_wish_for_a_look(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    publish, failures = world.bus.publish, iter([True])

    def dying(events: Sequence[CloudEvent]) -> None:
        if any(event["type"] == RECONCILIATION_REQUESTED for event in events) and next(failures, False):
            raise BrokerUnavailable("in the very moment")
        publish(events)

    monkeypatch.setattr(world.bus, "publish", dying)


@pytest.mark.parametrize("most_prefixes", [50, 1])
def test_a_publisher_that_dies_before_it_asks_for_a_second_look_is_made_good(
    world: World, monkeypatch: pytest.MonkeyPatch, most_prefixes: int
) -> None:
    monkeypatch.setattr("functions.publishing.shadows.MOST_PREFIXES", most_prefixes)
    world.request()
    world.run_until_quiet()
    for name in ("one", "two"):
        world.upload(f"cvmfs/bin/{name}", name.encode())
    world.upload("cvmfs/bin", b"newer than both, and in their way")
    world.run_until_quiet()
    _die_at_the_next_wish_for_a_look(world, monkeypatch)
    world.delete("cvmfs/bin")
    world.run_until_quiet()
    with world.reader() as reader:
        assert [reader.read(f"/bin/{name}") for name in ("one", "two")] == [b"one", b"two"]
    assert not world.problems()
