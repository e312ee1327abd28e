"""The store in a folder keeps the contract, and holds together when processes are killed."""

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from functions.adapters import directory
from functions.adapters.directory import OWN_PREFIX, DirectoryBlobStore
from functions.errors import Permanent, StoreUnavailable
from tests.contracts.blob_store import BlobStoreContract


class TestDirectoryBlobStore(BlobStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryBlobStore(tmp_path / "repository")

    @pytest.fixture
    def broken_store(self, tmp_path):
        (tmp_path / "file").write_bytes(b"not a folder")
        return DirectoryBlobStore(tmp_path / "file")


class TestWithoutUnnamedFiles(BlobStoreContract):
    """The same where the file system has no O_TMPFILE."""

    @pytest.fixture
    def store(self, tmp_path, monkeypatch):
        real = os.open

        def refusing(path, flags, *rest, **named):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return real(path, flags, *rest, **named)

        monkeypatch.setattr(directory.os, "open", refusing)
        return DirectoryBlobStore(tmp_path / "repository")

    @pytest.fixture
    def broken_store(self, tmp_path):
        (tmp_path / "file").write_bytes(b"not a folder")
        return DirectoryBlobStore(tmp_path / "file" / "below")


@pytest.fixture
def root(tmp_path):
    return tmp_path / "repository"


def test_a_folder_that_is_not_there_is_an_empty_store_and_reading_does_not_make_it(root):
    store = DirectoryBlobStore(root)
    assert store.get(".cvmfspublished") is None
    assert not store.has("data/ab/cd")
    assert list(store.list("")) == []
    store.delete("data/ab/cd")
    assert not root.exists()


@pytest.mark.parametrize("path", ["data/ab/cdef", ".cvmfspublished"])
def test_web_servers_may_read_what_is_stored(root, path):
    DirectoryBlobStore(root).put(path, b"1")
    assert stat.S_IMODE((root / path).stat().st_mode) & 0o044 == 0o044


def test_the_stores_own_files_are_not_listed_and_no_others_are_left(root):
    store = DirectoryBlobStore(root)
    store.put("data/ab/cd", b"1")
    store.replace(".cvmfspublished", b"2", store.create(".cvmfspublished", b"1"))
    store.put("a.json", b"1")
    assert [info.path for info in store.list("")] == [".cvmfspublished", "a.json", "data/ab/cd"]
    own = [path.name for path in root.rglob("*") if path.name.startswith(OWN_PREFIX)]
    assert own == [OWN_PREFIX + "lock"]


def test_what_a_power_cut_has_left_of_an_object_is_repaired_by_the_next_put(root):
    store = DirectoryBlobStore(root)
    (root / "data" / "ab").mkdir(parents=True)
    (root / "data" / "ab" / "cd").write_bytes(b"who")
    store.put("data/ab/cd", b"whole")
    assert store.get("data/ab/cd").body == b"whole"


def aged(file, hours=10_000):
    then = file.stat().st_mtime - hours * 3600
    os.utime(file, (then, then))


def test_an_old_object_that_is_put_again_is_young_again(root):
    store = DirectoryBlobStore(root)
    store.put("data/ab/cd", b"1")
    aged(root / "data" / "ab" / "cd")
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    assert store.info("data/ab/cd").modified < long_ago
    store.put("data/ab/cd", b"1")
    assert not store.delete_old("data/ab/cd", long_ago)


def test_an_object_that_is_deleted_while_it_is_put_again_is_written_again(root, monkeypatch):
    store = DirectoryBlobStore(root)
    store.put("data/ab/cd", b"1")
    aged(root / "data" / "ab" / "cd")
    renew = DirectoryBlobStore._renew

    def overtaken(self, path, body):
        assert self.delete_old(path, datetime.now(UTC) - timedelta(hours=1))
        renew(self, path, body)

    monkeypatch.setattr(DirectoryBlobStore, "_renew", overtaken)
    store.put("data/ab/cd", b"1")
    assert store.get("data/ab/cd").body == b"1"


def test_putting_and_deleting_at_once_never_loses_what_was_put(root):
    store = DirectoryBlobStore(root)
    done = threading.Event()

    def collect():
        while not done.is_set():
            store.delete_old("data/ab/cd", datetime.now(UTC) - timedelta(hours=1))

    with ThreadPoolExecutor(1) as pool:
        collecting = pool.submit(collect)
        try:
            for _ in range(200):
                store.put("data/ab/cd", b"1")
                assert store.get("data/ab/cd").body == b"1"
                aged(root / "data" / "ab" / "cd")
        finally:
            done.set()
            collecting.result()


def test_a_deleted_file_leaves_no_empty_folders(root):
    store = DirectoryBlobStore(root)
    store.put("data/ab/cd", b"1")
    store.put("leases/a/b/c.json", b"1")
    store.delete("leases/a/b/c.json")
    assert sorted(path.name for path in root.iterdir() if not path.name.startswith(OWN_PREFIX)) == ["data"]


@pytest.mark.parametrize("path", ["data/ab", "data/ab/cd/ef", "x/" + "n" * 256])
def test_a_path_that_a_folder_cannot_hold_is_refused_for_good(root, path):
    store = DirectoryBlobStore(root)
    store.put("data/ab/cd", b"1")
    for attempt in (lambda: store.put(path, b""), lambda: store.create(path, b"")):
        with pytest.raises(Permanent):
            attempt()
    assert store.get("data/ab/cd").body == b"1"


def test_a_full_disk_is_a_store_that_is_unavailable(root, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(directory.os, "write", full)
    with pytest.raises(StoreUnavailable, match="No space left"):
        DirectoryBlobStore(root).put("data/ab/cd", b"1")
    assert not DirectoryBlobStore(root).has("data/ab/cd")


def test_commits_bring_what_came_before_them_to_disk(root, monkeypatch):
    synced = []
    monkeypatch.setattr(directory, "_SYNCFS", lambda _: synced.append({path.name for path in root.iterdir()}) or 0)
    store = DirectoryBlobStore(root)
    store.put("data/ab/cd", b"1")
    assert synced == []
    version = store.create(".cvmfspublished", b"1")
    store.replace(".cvmfspublished", b"2", version)
    assert len(synced) == 2
    assert "data" in synced[0]
    assert ".cvmfspublished" not in synced[0]


WRITER = """
import sys
from pathlib import Path
from functions.adapters.directory import DirectoryBlobStore
from functions.cvmfs.address import HashAlgorithm
store = DirectoryBlobStore(Path(sys.argv[1]))
print("started", flush=True)
number = 0
while True:
    body = (b"%d" % number) * 200_000
    digest = HashAlgorithm.SHA1.digest(body)
    store.put(f"data/{str(digest)[:2]}/{str(digest)[2:]}", body)
    blob = store.get(".cvmfspublished")
    if blob is None:
        store.create(".cvmfspublished", b"0" * 100_000)
    else:
        store.replace(".cvmfspublished", (b"%d" % (number % 10)) * 100_000, blob.version)
    number += 1
"""


def test_a_writer_killed_at_any_moment_leaves_whole_files_only_and_no_lock(root):
    from functions.cvmfs.address import HashAlgorithm

    for turn in range(6):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(root)], stdout=subprocess.PIPE)
        with writer:
            assert writer.stdout.readline() == b"started\n"
            time.sleep(0.05 + 0.037 * turn)
            writer.send_signal(signal.SIGKILL)
    store = DirectoryBlobStore(root)
    paths = [info.path for info in store.list("data/")]
    assert paths
    for path in paths:
        digest = HashAlgorithm.SHA1.digest(store.get(path).body)
        assert path == f"data/{str(digest)[:2]}/{str(digest)[2:]}"
    head = store.get(".cvmfspublished")
    assert len(head.body) == 100_000
    assert len(set(head.body)) == 1
    store.replace(".cvmfspublished", b"after the kills", head.version)
