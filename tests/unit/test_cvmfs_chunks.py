"""Cut marks: the official ones, whatever the blocks the data comes in."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from itertools import accumulate

import numpy as np
import pytest

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.chunks import ChunkLimits, cut_marks, split
from functions.cvmfs.compression import Compression
from functions.cvmfs.entry import path_hash
from functions.cvmfs.errors import FormatError
from functions.cvmfs.history import History
from functions.cvmfs.manifest import SignedManifest
from functions.cvmfs.objects import unpack
from tests.golden import GOLDEN, golden

SMALL = ChunkLimits(4096, 8192, 16384)


def small_vector() -> bytes:
    link, links = b"cvmfs", []
    for _ in range(2048):
        link = hashlib.sha256(link).digest()
        links.append(link)
    return b"".join(links)


SMALL_MARKS = [7565, 12339, 16801, 24220, 32062, 39583, 46433, 50803, 60380]


def official_noise(blocks: int, block_size: int = 1 << 20) -> Iterator[bytes]:
    """The generator of the official unit test, s = s * a + c modulo 2^64 from 42, the top byte of each s."""
    mask = 2**64 - 1
    factor, summand = 6364136223846793005, 1442695040888963407
    states = np.empty(block_size, dtype=np.uint64)
    states[0] = (42 * factor + summand) & mask
    # s[n+k] = s[n] * factor^k + summand * (1 + ... + factor^(k-1)): double the block until it is full, then jump on
    done = 1
    while done < block_size:
        states[done : 2 * done] = states[:done] * np.uint64(factor) + np.uint64(summand)
        factor, summand, done = factor * factor & mask, (factor * summand + summand) & mask, 2 * done
    for _ in range(blocks):
        yield (states >> np.uint64(56)).astype(np.uint8).tobytes()
        states = states * np.uint64(factor) + np.uint64(summand)


def marks_of(pieces: Iterator[bytes]) -> list[int]:
    return list(accumulate(len(piece) for piece in pieces))[:-1]


def test_the_small_vector_of_the_format():
    data = small_vector()
    assert hashlib.sha1(data).hexdigest() == "de6fbe838f1802239f6bb0aee71d16da04ed6592"
    assert cut_marks(data, SMALL) == SMALL_MARKS


def test_the_vector_of_the_official_unit_test():
    limits = ChunkLimits(512000, 1024000, 2048000)
    marks = marks_of(split(official_noise(100), limits))
    assert marks[:10] == [742752, 2790752, 3521796, 4188893, 4940543, 5884591, 7131564, 8520617, 9159233, 9999783]
    assert len(marks) == 104
    assert marks[-1] == 104269441
    head = b"".join(official_noise(10))
    assert cut_marks(head, limits) == [mark for mark in marks if mark < len(head)]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_chunked_file_of_an_official_repository_is_cut_where_the_official_tools_cut_it(name):
    repository = golden(name)
    algorithm = HashAlgorithm(name)
    compression = Compression.NONE if name == "rmd160" else Compression.ZLIB
    manifest = SignedManifest.from_bytes(repository.read(".cvmfspublished")).unverified
    history_address = Address(manifest.history, Kind.HISTORY)
    v1 = History.from_bytes(unpack(history_address, repository.read(history_address.path))).tag("v1")
    catalog_address = Address(v1.root, Kind.CATALOG)
    with closing(sqlite3.connect(":memory:")) as catalog:
        catalog.deserialize(unpack(catalog_address, repository.read(catalog_address.path)))
        chunks = catalog.execute(
            "SELECT offset, hash FROM chunks WHERE md5path_1 = ? AND md5path_2 = ? ORDER BY offset",
            path_hash("/big/chunked.bin"),
        ).fetchall()
    pieces = []
    for _, raw in chunks:
        address = Address(Digest(algorithm, raw), Kind.PARTIAL)
        pieces.append(unpack(address, repository.read(address.path), compression))
    assert len(pieces) > 1
    whole = b"".join(pieces)
    assert cut_marks(whole, ChunkLimits()) == [offset for offset, _ in chunks][1:]
    assert list(split([whole], ChunkLimits())) == pieces


@pytest.mark.parametrize(
    ("distance", "cut"),
    [
        pytest.param(0, True, id="in the middle"),
        pytest.param(33554430, True, id="just near enough, above"),
        pytest.param(-33554430, True, id="just near enough, below"),
        pytest.param(33554431, False, id="at the threshold, above"),
        pytest.param(-33554431, False, id="at the threshold, below"),
    ],
)
def test_a_mark_falls_where_the_rolling_value_is_closer_than_the_threshold(distance, cut):
    limits = ChunkLimits(64, 128, 1000)
    assert limits.threshold == 33554431
    value = 0x7FFFFFFF + distance
    # bytes of 0 or 1, the oldest being the highest bit, make any rolling value
    data = bytes(100) + bytes(value >> bit & 1 for bit in range(31, -1, -1))
    assert cut_marks(data, limits) == ([131] if cut else [])


def test_zeros_are_cut_at_every_maximum():
    assert cut_marks(bytes(100_000), SMALL) == [16384 * n for n in range(1, 7)]
    assert cut_marks(bytes(16384 * 2), SMALL) == [16384]


@pytest.mark.parametrize(
    ("size", "pieces"),
    [
        pytest.param(0, [0], id="an empty file"),
        pytest.param(1, [1], id="one byte"),
        pytest.param(4096, [4096], id="exactly the minimum"),
        pytest.param(16384, [16384], id="exactly the maximum: a mark at the end makes no empty chunk"),
        pytest.param(16385, [16384, 1], id="one byte more than the maximum"),
    ],
)
def test_small_files_come_in_one_piece(size, pieces):
    assert [len(piece) for piece in split([bytes(size)], SMALL)] == pieces
    assert [len(piece) for piece in split(iter([b"", bytes(size), b""]), SMALL)] == pieces


def test_a_file_of_no_blocks_is_one_empty_piece():
    assert list(split([], SMALL)) == [b""]


@pytest.mark.parametrize("block_size", [1, 31, 32, 4095, 4096, 16384, 16385, 1 << 20])
def test_the_blocks_do_not_matter(block_size):
    data = small_vector()[:20000] if block_size < 32 else small_vector()
    blocks = (data[at : at + block_size] for at in range(0, len(data), block_size))
    pieces = list(split(blocks, SMALL))
    assert b"".join(pieces) == data
    assert marks_of(iter(pieces)) == [mark for mark in SMALL_MARKS if mark < len(data)]


def test_what_is_handed_out_is_the_callers_own():
    pieces = split([small_vector()], SMALL)
    first = next(pieces)
    kept = bytes(first)
    rest = list(pieces)
    assert first == kept
    assert [kept, *rest] == list(split([small_vector()], SMALL))
    spoiling = split([small_vector()], SMALL)
    next(spoiling).clear()
    assert list(spoiling) == rest


def test_splitting_holds_no_more_than_a_chunk_and_a_few_blocks():
    limits = ChunkLimits(1 << 20, 2 << 20, 4 << 20)
    block = bytes(1 << 18)
    tracemalloc.start()
    try:
        total = sum(len(piece) for piece in split((block for _ in range(256)), limits))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert total == 64 << 20
    assert peak < 2 * limits.maximum + (8 << 20)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((31, 64, 128), id="minimum below the window"),
        pytest.param((64, 64, 128), id="average not above the minimum"),
        pytest.param((32, 128, 128), id="maximum not above the average"),
        pytest.param((32, 64, 2**32), id="maximum beyond 32 bits"),
        pytest.param((-1, 64, 128), id="negative"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(FormatError, match="chunk sizes"):
        ChunkLimits(*sizes)


def test_numpy_is_imported_only_when_something_may_be_cut():
    program = (
        "import sys\n"
        "from functions.cvmfs.chunks import ChunkLimits, split\n"
        "assert list(split([bytes(4 << 20)], ChunkLimits())) == [bytes(4 << 20)]\n"
        "assert 'numpy' not in sys.modules\n"
        "list(split([bytes(5 << 20)], ChunkLimits()))\n"
        "assert 'numpy' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
