"""Object names, compression and packing: the worked examples of the format, and what is refused."""

from __future__ import annotations

import zlib

import pytest

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.compression import FAST, STOCK, Codec, Compression, compress, decompress
from functions.cvmfs.errors import AddressError, CompressionError, HashMismatch
from functions.cvmfs.objects import pack, unpack
from tests.golden import GOLDEN, golden

SHA1, RMD160, SHAKE128 = HashAlgorithm.SHA1, HashAlgorithm.RMD160, HashAlgorithm.SHAKE128
HELLO = Digest.parse("5798f7f4ca7585d850eea64610a1f73d8f8de7a3")

EMPTY = [
    (Compression.ZLIB, SHA1, "e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78"),
    (Compression.ZLIB, RMD160, "fcdb20b894f31f1306d56294c049ca7293dde0fc-rmd160"),
    (Compression.ZLIB, SHAKE128, "28d94b83b7229b331fc601362b8e272e02665122-shake128"),
    (Compression.NONE, SHA1, "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
    (Compression.NONE, RMD160, "9c1185a5c5e9fc54612808977ee8f548b2258d31-rmd160"),
    (Compression.NONE, SHAKE128, "7f9c2ba4e88f827d616045507605853ed73b8093-shake128"),
]


@pytest.mark.parametrize(("compression", "algorithm", "name"), EMPTY)
def test_empty_content_has_the_name_of_the_format(compression, algorithm, name):
    stored = pack(b"", Kind.FILE, algorithm, compression, STOCK)
    assert str(stored.address) == name
    assert stored.body == (bytes.fromhex("789c030000000001") if compression is Compression.ZLIB else b"")
    assert stored.size == 0
    assert unpack(stored.address, stored.body, compression) == b""


@pytest.mark.parametrize("content", [b"", b"hello\n", bytes(1 << 20)], ids=["empty", "small", "a MiB of zeros"])
def test_either_library_writes_what_zlib_reads(content):
    for codec in (FAST, STOCK):
        stored = pack(content, Kind.FILE, SHA1, codec=codec)
        assert zlib.decompress(stored.body) == content
        assert stored.body[:2] == b"\x78\x9c"


def test_the_worked_example_of_the_format():
    stored = pack(b"hello\n", Kind.FILE, SHA1, codec=STOCK)
    assert stored.body == bytes.fromhex("789ccb48cdc9c9e70200084b021f")
    assert stored.address == Address(HELLO, Kind.FILE)
    assert stored.address.path == "data/57/98f7f4ca7585d850eea64610a1f73d8f8de7a3"
    assert stored.size == 6
    assert unpack(stored.address, stored.body) == b"hello\n"


def test_certificates_and_metainfo_are_stock_zlib_whatever_codec_is_chosen():
    content = bytes(range(256)) * 64 + b"the same words again and again, " * 100
    poor = Codec("libdeflate", 1)
    assert compress(content, codec=poor) != compress(content, codec=STOCK)
    for kind in Kind:
        body = pack(content, kind, SHA1, codec=poor).body
        assert (body == zlib.compress(content, 6)) == (kind in {Kind.CERTIFICATE, Kind.METAINFO})


@pytest.mark.parametrize(
    ("address", "path"),
    [
        pytest.param(
            Address(Digest(RMD160, bytes.fromhex("04e8" + "00" * 17 + "c1")), Kind.CATALOG),
            "data/04/e8" + "00" * 17 + "c1-rmd160C",
            id="the letter follows the tag",
        ),
        pytest.param(Address(HELLO, Kind.PARTIAL), "data/57/98f7f4ca7585d850eea64610a1f73d8f8de7a3P", id="a chunk"),
        pytest.param(
            Address(Digest(SHAKE128, b"\xff" * 20), Kind.FILE), "data/ff/" + "ff" * 19 + "-shake128", id="a file"
        ),
    ],
)
def test_an_address_is_a_path_and_a_path_an_address(address, path):
    assert address.path == path
    assert Address.from_path(path) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("name", GOLDEN)
def test_every_object_of_an_official_repository_is_named_by_its_hash(name):
    repository = golden(name)
    paths = [path for path in repository.paths() if path.startswith("data/")]
    assert len(paths) > 60
    for path in paths:
        address = Address.from_path(path)
        assert address.path == path
        assert address.digest.algorithm is HashAlgorithm(name)
        assert address.digest == address.digest.algorithm.digest(repository.read(path))


@pytest.mark.parametrize("name", ["sha1", "shake128"])
def test_every_object_of_an_official_repository_is_stock_zlib(name):
    repository = golden(name)
    for path in repository.paths():
        if path.startswith("data/"):
            body = repository.read(path)
            assert compress(decompress(body), codec=STOCK) == body


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("a" * 39, id="39 digits"),
        pytest.param("a" * 32, id="an MD5"),
        pytest.param("A" * 40, id="capitals"),
        pytest.param("g" * 40, id="no hex"),
        pytest.param("a" * 40 + "-sha256", id="an unknown algorithm"),
        pytest.param("a" * 40 + "-rmd160 ", id="a blank behind it"),
        pytest.param("a" * 40 + "\n", id="a line feed behind it"),
        pytest.param("٤" * 40, id="digits of another script"),
    ],
)
def test_what_is_not_a_hash_string_is_refused(text):
    with pytest.raises(AddressError):
        Digest.parse(text)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("data/aa/" + "a" * 38 + "T", id="a temporary object"),
        pytest.param("data/aa/" + "a" * 38 + "L", id="a micro catalog"),
        pytest.param("data/a/" + "a" * 39, id="one digit as directory"),
        pytest.param("data/aaa/" + "a" * 37, id="three digits as directory"),
        pytest.param("data/aa/a/" + "a" * 36, id="another level"),
        pytest.param("other/aa/" + "a" * 38, id="outside data"),
        pytest.param("/data/aa/" + "a" * 38, id="absolute"),
        pytest.param("data/txn/x", id="the staging directory"),
        pytest.param(".cvmfspublished", id="the manifest"),
    ],
)
def test_what_is_not_an_object_path_is_refused(path):
    with pytest.raises(AddressError):
        Address.from_path(path)


@pytest.mark.parametrize("size", [0, 19, 21])
def test_a_digest_has_twenty_bytes(size):
    with pytest.raises(AddressError, match="20 bytes"):
        Digest(SHA1, bytes(size))


@pytest.mark.parametrize(("algorithm", "bits"), [(SHA1, 0), (RMD160, 256), (SHAKE128, 512)])
def test_the_hash_bits_of_catalog_flags(algorithm, bits):
    assert algorithm.flag_bits == bits
    assert HashAlgorithm.from_flag_bits(0x10000 | 0xFF | 2048 | bits) is algorithm


def test_unknown_hash_and_compression_bits_are_refused():
    with pytest.raises(AddressError):
        HashAlgorithm.from_flag_bits(3 << 8)
    with pytest.raises(CompressionError):
        Compression.from_flag_bits(2 << 11)
    assert Compression.from_flag_bits(2628) is Compression.NONE


STREAM = zlib.compress(b"content " * 100, 6)


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        pytest.param(b"", "ends early", id="nothing"),
        pytest.param(STREAM[:-1], "ends early", id="cut off"),
        pytest.param(STREAM + b"x", "1 bytes after the end", id="something behind it"),
        pytest.param(b"no zlib stream at all", "not a zlib stream", id="no stream"),
        pytest.param(STREAM[:-1] + bytes([STREAM[-1] ^ 1]), "not a zlib stream", id="a wrong checksum"),
    ],
)
def test_what_is_not_one_whole_zlib_stream_is_refused(stored, reason):
    with pytest.raises(CompressionError, match=reason):
        decompress(stored)


def test_inflating_stops_at_the_limit():
    assert decompress(STREAM, limit=800) == b"content " * 100
    with pytest.raises(CompressionError, match="more than 799"):
        decompress(STREAM, limit=799)
    assert decompress(b"12345", Compression.NONE, limit=5) == b"12345"
    with pytest.raises(CompressionError, match="at most 4"):
        decompress(b"12345", Compression.NONE, limit=4)


def test_stored_bytes_with_another_hash_are_refused():
    stored = pack(b"content", Kind.FILE, SHA1)
    with pytest.raises(HashMismatch, match=str(stored.address)):
        unpack(stored.address, stored.body + b"x")
