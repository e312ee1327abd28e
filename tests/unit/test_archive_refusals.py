"""What no archive may do: leave its tree, fill the memory or the store, or pass for whole when it is damaged."""

import bz2
import gzip
import io
import lzma
import os
import random
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from functions.adapters.memory import MemoryObjectSource
from functions.errors import UploadRefused
from functions.publishing import archive
from functions.publishing.archive import Unpacking
from functions.publishing.archive_formats import unpack
from functions.publishing.archive_rules import ArchiveLimits
from functions.publishing.archive_tree import ArchiveTree
from functions.publishing.content import Recipe
from functions.publishing.decompression import DecompressionError, decompressed
from functions.publishing.small_files import SmallFiles
from tests.archives import FOLDER, directory, hard_link, link, member, take_in, tar, zipped

GIB = 2**30


def refusal(body: bytes, name: str = "x.tar", limits: ArchiveLimits | None = None) -> UploadRefused:
    with pytest.raises(UploadRefused) as refused:
        take_in(name, body, limits=limits)
    assert refused.value.next_step
    assert len(str(refused.value)) < 700
    return refused.value


def _pax(records: bytes, then: bytes = b"") -> bytes:
    """A PAX header with these records, and what follows it."""
    header = tarfile.TarInfo("header")
    header.type, header.size = tarfile.XHDTYPE, len(records)
    return header.tobuf(tarfile.USTAR_FORMAT) + records.ljust(-(-len(records) // 512) * 512, b"\0") + then


def _record(keyword: str, value: str) -> bytes:
    text = f" {keyword}={value}\n".encode()
    size = len(text) + len(str(len(text)))
    return f"{size + (len(str(size)) > len(str(len(text))))}".encode() + text


def _with(name: str, **fields: object) -> bytes:
    found, _ = member(name)
    for field, value in fields.items():
        setattr(found, field, value)
    return found.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(tar(member("/etc/passwd")), "absolute", id="absolute name"),
        pytest.param(tar(member("a/../../b")), "'..'", id="climbing name"),
        pytest.param(tar(member("..")), "'..'", id="nothing but a climb"),
        pytest.param(tar(link("l", "../x")), "leads out", id="climbing link"),
        pytest.param(tar(link("a/b/l", "../../../x")), "leads out", id="climbing link further down"),
        pytest.param(tar(link("l", "")), "to nothing", id="link without a target"),
        pytest.param(tar(link("l", "x" * 4096)), "4096 bytes", id="target too long"),
        pytest.param(tar(link("l", "\udcff")), "not UTF-8", id="target that is no text"),
        pytest.param(tar(link("l", "d"), member("l/x")), "below '/l'", id="below a link"),
        pytest.param(tar(member("f"), member("f/x/y")), "below '/f'", id="below a file"),
        pytest.param(tar(member("f"), directory("f")), "comes twice", id="file, then directory"),
        pytest.param(tar(member("f/x"), member("f")), "comes twice", id="directory, then file"),
        pytest.param(tar(hard_link("h", "later"), member("later")), "nothing before", id="hard link to a later member"),
        pytest.param(tar(directory("d"), hard_link("h", "d")), "nothing before", id="hard link to a directory"),
        pytest.param(tar(member("a"), hard_link("h", "../a")), "'..'", id="climbing hard link"),
        pytest.param(tar(member("a", type=tarfile.BLKTYPE)), "device", id="device"),
        pytest.param(tar(member("a", type=tarfile.FIFOTYPE)), "fifo", id="fifo"),
        pytest.param(_with("a", type=b"M"), "unknown type", id="part of a file on another tape"),
        pytest.param(tar(member("a\nb")), "control character", id="control character"),
        pytest.param(tar(member("a\udcffb"), dialect=tarfile.GNU_FORMAT), "not UTF-8", id="name that is no text"),
        pytest.param(tar(member("x" * 256)), "256 bytes", id="long name"),
        pytest.param(tar(member("é" * 128)), "256 bytes", id="long name in bytes"),
        pytest.param(tar(member("/".join(["x" * 200] * 20))), "at most 4000", id="long path"),
        pytest.param(tar(member("/".join("x" * 300))), "directories deep", id="deep path"),
        pytest.param(tar(directory(".cvmfscatalog")), "only a file", id="marker that is a directory"),
        pytest.param(tar(link("a/.cvmfscatalog", "x")), "only a file", id="marker that is a link"),
        pytest.param(tar(member("a/.cvmfscatalog/x")), "only a file", id="marker that is an implied directory"),
        pytest.param(tar(member("a/.cvmfsautocatalog/b/x")), "only a file", id="balancer's marker that is a directory"),
        pytest.param(tar(member("a"), hard_link("a/.cvmfsgraft-x", "a")), "graft", id="graft"),
        pytest.param(tar(directory(".", mode=0o755), member(".", b"1")), "no name", id="file without a name"),
    ],
)
def test_members_that_cannot_be(body: bytes, reason: str) -> None:
    refused = refusal(body)
    assert refused.reason_code == "archive-unsafe-member"
    assert reason in str(refused)


GOOD = tar(member("a", b"1" * 600), member("b", b"2" * 600), member("c", b"3" * 600))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"no archive at all", id="a text"),
        pytest.param(GOOD[:300], id="cut in the first header"),
        pytest.param(GOOD[:1000], id="cut in a member"),
        pytest.param(GOOD[: 1536 + 100], id="cut in a later header"),
        pytest.param(GOOD[:1536] + b"\1" * 512 + GOOD[2048:], id="a damaged header in the middle"),
        pytest.param(GOOD[:1536] + bytes(512) + GOOD[2048:], id="a hole where a header was"),
        pytest.param(GOOD[:1000] + bytes(2072) + GOOD[3072:], id="a hole from within a member to the next header"),
        pytest.param(gzip.compress(GOOD[:1536] + bytes(1536) + GOOD[3072:]), id="a member's length of zeros"),
        pytest.param(_with("a", size=-5) + bytes(1024), id="a negative size"),
        pytest.param(_pax(_record("size", "-512"), _with("a")) + bytes(1024), id="a negative size in a PAX header"),
        pytest.param(_pax(_record("mtime", "inf"), _with("a")) + bytes(1024), id="an infinite time"),
        pytest.param(_pax(_record("path", "b")) * 2000 + _with("a") + bytes(1024), id="headers of headers"),
        pytest.param(b"".join(_pax(_record(f"k{n}", "v")).replace(b"x", b"g") for n in range(3)), id="only headers"),
        pytest.param(zipped(("a", b"1"))[:-5], id="a zip cut short"),
        pytest.param(b"PK\x03\x04" + bytes(100), id="a zip without an index"),
    ],
)
def test_damage_is_found_wherever_it_is(body: bytes) -> None:
    assert refusal(body).reason_code == "archive-broken"


def test_the_good_neighbour_of_the_damaged_ones() -> None:
    assert len(take_in("x.tar", GOOD).contents) == 4
    assert len(take_in("x.tar", GOOD[:4608]).contents) == 4  # some programs leave the end out
    assert len(take_in("x.tar", GOOD[: 4608 + 512]).contents) == 4  # or half of it
    assert len(take_in("x.tar", GOOD + b"undefined" * 1000).contents) == 4  # POSIX lets anything be after it


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(GOOD + GOOD, id="one after the other"),
        pytest.param(gzip.compress(GOOD) + gzip.compress(GOOD), id="compressed one after the other"),
        pytest.param(GOOD[: 4608 + 1024] + GOOD, id="without padding"),
        pytest.param(GOOD + bytes(5 << 20) + b"?" * 512 + GOOD, id="far apart"),
    ],
)
def test_of_several_archives_in_one_file_none_is_left_out_silently(body: bytes) -> None:
    refused = refusal(body)
    assert refused.reason_code == "archive-broken"
    assert "after its end" in str(refused)


COMPRESSIONS = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
def test_every_missing_or_wrong_byte_of_a_compressed_stream_is_noticed(compress) -> None:
    packed = compress(GOOD)
    assert take_in("x.tar", packed + bytes(512)).contents["/c"] == b"3" * 600
    for body in (packed[:-1], packed[: len(packed) // 2], packed + b"junk", packed[:-3] + b"abc"):
        assert refusal(body).reason_code == "archive-broken"


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_streams_one_after_the_other_are_one_whatever_the_blocks(compress, size: int) -> None:
    packed = compress(b"one") + compress(b"") + bytes(4) + compress(b"two" * 1000)
    blocks = [packed[at : at + size] for at in range(0, len(packed), size)]
    assert b"".join(decompressed(blocks)) == b"one" + b"two" * 1000


def test_what_is_not_compressed_stays_as_it_is() -> None:
    assert b"".join(decompressed([b"a", b"", b"bc"])) == b"abc"
    assert list(decompressed([])) == []
    assert b"".join(decompressed([b"BZh9 is how this text begins"])) == b"BZh9 is how this text begins"


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": GIB}]), id="xz"),
        pytest.param(
            zstandard.ZstdCompressor(
                compression_params=zstandard.ZstdCompressionParameters(window_log=29, write_content_size=False)
            )
            .compressobj()
            .compress(os.urandom(1 << 20)),
            id="zstd",
        ),
    ],
)
def test_a_stream_that_needs_too_much_memory_is_refused(packed: bytes) -> None:
    with pytest.raises(DecompressionError, match=r"[Mm]emory"):
        list(decompressed([packed]))


# Bombs: stopped before their bytes are unpacked


class Counting:
    """An object whose reader tells how much of it was read."""

    def __init__(self, name: str, body: bytes) -> None:
        source = MemoryObjectSource()
        source.put("b", name, body)
        self._reader = source.open("b", name)
        self.info = self._reader.info
        self.was_read = 0

    def blocks(self) -> Iterator[bytes]:
        for start in range(0, self.info.size, 1000):
            self.was_read += 1000
            yield self._reader.body[start : start + 1000]

    def read(self, start: int) -> bytes:
        return self._reader.read(start)


def _stopped(body: bytes, *, size_is_known: bool = True, name: str = "x.tar", limits: ArchiveLimits | None = None):
    """The refusal, how much of the archive was read, and how much was stored."""
    reader = Counting(name, body)
    tree = ArchiveTree("/x", modified=0)
    stored: list[int] = []
    unpacking = Unpacking(
        name=name,
        stored_size=len(body) if size_is_known else None,
        tree=tree,
        files=SmallFiles(Recipe(), lambda item: stored.append(item.size)),
        limits=limits or ArchiveLimits(members=1000, content_bytes=8 * GIB, ratio=50, ratio_from_bytes=1 << 20),
    )
    with pytest.raises(UploadRefused) as refused:
        unpack(reader, unpacking)
    tree.close()
    return refused.value.reason_code, reader.was_read, sum(stored)


def _huge(size: int) -> bytes:
    return _with("huge", size=size)


@pytest.mark.parametrize("size", [9 * GIB, 2**63, 2**70], ids=["9 GiB", "8 EiB", "more than a number"])
def test_a_claim_is_enough_for_a_refusal(size: int) -> None:
    assert _stopped(_huge(size) + bytes(100_000)) == ("archive-too-large", 1000, 0)


def test_a_sparse_file_counts_with_its_holes() -> None:
    body = gzip.decompress((FOLDER / "gnu-sparse.tar.gz").read_bytes())
    small = ArchiveLimits(ratio=5, ratio_from_bytes=1000)
    assert refusal(body, limits=small).reason_code == "archive-bomb"


def test_a_compressed_bomb_is_stopped_by_its_claims_or_as_it_grows() -> None:
    bomb = gzip.compress(tar(member("zeros", bytes(20 << 20))))
    assert _stopped(bomb)[0] == "archive-bomb"
    assert _stopped(bomb)[2] == 0
    code, was_read, stored = _stopped(bomb, size_is_known=False)
    assert (code, stored < 4 << 20) == ("archive-bomb", True)
    assert was_read < len(bomb) / 2


def test_zeros_after_the_end_of_an_archive_are_a_bomb_too() -> None:
    code, was_read, _ = _stopped(gzip.compress(GOOD + bytes(20 << 20)))
    assert code == "archive-bomb"
    assert was_read < 21_000


def test_empty_members_and_directories_nobody_named_count() -> None:
    many = tar(*(member(str(number)) for number in range(1001)))
    assert _stopped(many)[0] == "archive-too-many-members"
    deep = tar(*(member(f"{number}/" + "/".join("d" * 200) + "/f") for number in range(6)))
    assert _stopped(deep)[0] == "archive-too-many-members"


def test_directories_with_long_paths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_DIRECTORY_BYTES", 10_000)
    many = tar(*(directory(f"{number:0>200}") for number in range(60)))
    assert "too long paths" in str(refusal(many))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(_with("h", type=tarfile.XHDTYPE, size=GIB), id="PAX header"),
        pytest.param(_with("h", type=tarfile.GNUTYPE_LONGNAME, size=GIB), id="long name"),
        pytest.param(_with("h", type=tarfile.SOLARIS_XHDTYPE, size=GIB), id="another PAX header"),
    ],
)
def test_a_header_of_a_gigabyte_is_not_read(body: bytes) -> None:
    code, was_read, _ = _stopped(body + bytes(3 << 20))
    assert (code, was_read) == ("archive-broken", 1000)


def _shared(count: int) -> bytes:
    """A zip whose members all have the bytes of the first."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(100_000))
        (first,) = archive.filelist
        for number in range(1, count):
            again = zipfile.ZipInfo(str(number))
            for field in ("header_offset", "compress_size", "file_size", "CRC", "compress_type", "flag_bits"):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)
    return packed.getvalue()


def test_members_of_a_zip_that_share_their_bytes_are_refused() -> None:
    refused = refusal(_shared(3), "z.zip")
    assert "shares its bytes" in str(refused)
    assert take_in("z.zip", _shared(1)).contents["/0"] == bytes(100_000)


@pytest.mark.parametrize("compression", [0, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_a_zip_that_claims_too_little_or_too_much_is_refused(compression: int) -> None:
    body = zipped(("a", b"x" * 5000), compression=compression)
    assert take_in("z.zip", body).contents["/a"] == b"x" * 5000
    for claimed in (100, 6000):
        wrong = body.replace(struct.pack("<I", 5000) + b"\1\0", struct.pack("<I", claimed) + b"\1\0")
        assert refusal(wrong, "z.zip").reason_code == "archive-broken"


def test_claims_of_all_members_of_a_zip_are_summed_before_any_is_read() -> None:
    body = zipped(*((str(number), bytes(400_000)) for number in range(6)))
    assert _stopped(body, name="z.zip") == ("archive-bomb", 0, 0)


def test_an_index_larger_than_memory_is_not_read() -> None:
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 200 << 20, 0, 0)
    assert refusal(b"PK\3\4" + bytes(50) + end, "z.zip").reason_code == "archive-broken"


class _NotStored(SmallFiles):
    """Contents that are read and forgotten."""

    def store(self, blocks):
        assert sum(map(len, blocks)) == 24 << 20
        return super().store([])


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_a_member_of_a_zip_in_any_method_is_inflated_piece_by_piece(compression: int) -> None:
    body = zipped(("zeros", bytes(24 << 20)), compression=compression)
    limits = ArchiveLimits(content_bytes=GIB, ratio_from_bytes=GIB)
    tree = ArchiveTree("/x", modified=0)
    unpacking = Unpacking("z.zip", len(body), tree, _NotStored(Recipe(), lambda _item: None), limits)
    tracemalloc.start()
    unpack(Counting("z.zip", body), unpacking)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tree.close()
    assert peak < 16 << 20


# Anything at all


SAMPLES = {
    "x.tar": tar(
        directory("d", mtime=1),
        member("d/file", b"content" * 100, pax_headers={"mtime": "1.5"}),
        link("d/link", "file"),
        hard_link("d/again", "d/file"),
        member("n" * 120, b""),
        member("ü\udcff"[:1] + "x" * 150, b"2"),
    ),
    "x.zip": zipped(("d/file", b"content" * 100), ("d/", b""), ("e", b"12")),
    "x.tar.gz": gzip.compress(GOOD, mtime=0),
    "x.tar.xz": (FOLDER / "two-streams.tar.xz").read_bytes(),
    "x.tar.zst": (FOLDER / "two-streams.tar.zst").read_bytes(),
    "y.tar": gzip.decompress((FOLDER / "posix-sparse-1.0.tar.gz").read_bytes())[:12_000],
    "z.tar": gzip.decompress((FOLDER / "oldgnu-sparse.tar.gz").read_bytes())[:12_000],
}


@settings(max_examples=150, deadline=None)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    seed=st.integers(0, 2**32),
    changes=st.integers(1, 6),
    is_sealed=st.booleans(),
)
def test_a_mutated_archive_is_a_tree_or_a_refusal_and_nothing_else(
    name: str, seed: int, changes: int, is_sealed: bool
) -> None:
    chance = random.Random(seed)
    body = bytearray(SAMPLES[name])
    for _ in range(changes):
        at = chance.randrange(len(body) or 1)
        match chance.randrange(4):
            case 0:
                body[at : at + 1] = chance.randbytes(1)
            case 1:
                body[at : at + chance.randrange(1, 40)] = chance.randbytes(chance.randrange(1, 40))
            case 2:
                body[at : at + 12] = chance.choice((b"99999999999\0", b"\x80" + b"\xff" * 11, b"\xff" * 12, b"\0" * 12))
            case _:
                del body[at : at + chance.randrange(1, 600)]
    if is_sealed:
        _seal(body)
    limits = ArchiveLimits(members=200, content_bytes=1 << 24, ratio=100, ratio_from_bytes=1 << 22)
    with suppress(UploadRefused):
        take_in(name, bytes(body), limits=limits)


def _seal(body: bytearray) -> None:
    """Make the checksums of tar headers right, so that what is in them is looked at."""
    for at in range(0, len(body) - 511, 512):
        if body[at + 257 : at + 262] == b"ustar":
            body[at + 148 : at + 156] = b" " * 8
            body[at + 148 : at + 156] = b"%06o\0 " % sum(body[at : at + 512])
