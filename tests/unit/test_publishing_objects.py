"""Objects on their way to a store."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from functions.adapters.memory import MemoryBlobStore
from functions.cvmfs.address import HashAlgorithm, Kind
from functions.cvmfs.compression import Compression
from functions.cvmfs.objects import StoredObject, pack
from functions.errors import StoreUnavailable
from functions.publishing import content, objects
from functions.publishing.content import Recipe, store_content
from functions.publishing.objects import Objects, Uploads

SIZE = 1000


def an_object(number: int) -> StoredObject:
    return pack(b"%d" % number * SIZE, Kind.FILE, HashAlgorithm.SHA1, Compression.NONE)


class SlowStore(MemoryBlobStore):
    """Takes nothing until it may."""

    def __init__(self):
        super().__init__()
        self.may = threading.Event()

    def put(self, path, body):
        assert self.may.wait(10)
        super().put(path, body)


def test_a_slow_store_holds_the_sender_up_before_its_memory_fills(monkeypatch):
    monkeypatch.setattr(objects, "BATCH_BYTES", 1)  # each object is an errand
    monkeypatch.setattr(objects, "WAITING_BYTES", 3 * SIZE)
    store, sent = SlowStore(), []
    with ThreadPoolExecutor(8) as executor:
        uploads = Uploads(Objects(store), executor)

        def send():
            for number in range(8):
                uploads.put(an_object(number))
                sent.append(number)

        sender = threading.Thread(target=send)
        sender.start()
        sender.join(0.2)
        assert sender.is_alive()
        assert len(sent) <= 3
        store.may.set()
        sender.join(10)
        uploads.finish()
    assert len(list(store.list(""))) == 8


def test_a_failed_errand_is_told_to_who_sends_more(monkeypatch):
    monkeypatch.setattr(objects, "BATCH_BYTES", 1)
    monkeypatch.setattr(objects, "WAITING_BYTES", 1)
    store = MemoryBlobStore()
    store.available = False
    with ThreadPoolExecutor(2) as executor:
        uploads = Uploads(Objects(store), executor)
        uploads.put(an_object(1))
        with pytest.raises(StoreUnavailable):
            uploads.put(an_object(2))


def test_a_chunk_is_let_go_of_as_soon_as_it_is_packed(monkeypatch):
    """What waits to be stored is what chunks were packed to, not their content."""
    packed = threading.Event()
    kept = []

    def told(*arguments):
        stored = pack(*arguments)
        packed.set()
        return stored

    monkeypatch.setattr(content, "pack", told)
    with ThreadPoolExecutor(1) as executor:
        packing = content._Packing(bytearray(SIZE), Recipe(), executor)
        assert packed.wait(10)
        kept.append(packing.outcome())
    assert packing._content == b""
    assert kept[0].size == SIZE


def test_threads_do_not_show_in_what_becomes_of_a_large_file():
    blocks = [bytes([number]) * (1 << 20) for number in range(40)]
    alone, together = [], []
    recipe = Recipe()
    expected = store_content(blocks, recipe, alone.append)
    with ThreadPoolExecutor(3) as executor:
        assert store_content(blocks, recipe, together.append, executor) == expected
    assert len(expected.chunks) > 1
    assert alone == together
