"""No bytes whatever make a reader of the format stumble: it reads them or says, as a FormatError, why not. And what it
reads, it can write again with the same meaning."""

from __future__ import annotations

import json
import operator
from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import Compression, compress, decompress
from functions.cvmfs.counters import COUNTER_NAMES, Counters
from functions.cvmfs.errors import FormatError
from functions.cvmfs.history import Branch, History
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.metainfo import make_metainfo
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.signing import join_signed, split_signed
from functions.cvmfs.whitelist import Whitelist
from tests import strategies as some
from tests.golden import golden

unhurried = settings(deadline=None)

SHA1 = HashAlgorithm.SHA1


@cache
def history() -> bytes:
    tags = History.new("a.b")
    for number in range(1, 4):
        tags.publish(SHA1.digest(b"%d" % number), 4096, number, number, name=f"v{number}", description="é" * number)
    return History("a.b", tags.tags(), [Branch(), Branch("side", "", 1)], {}).to_bytes()


@cache
def reflog() -> bytes:
    log = Reflog.new("a.b")
    for kind in RefType:
        log.add(SHA1.digest(kind.name.encode()), kind, int(kind))
    return log.to_bytes()


@st.composite
def damaged(draw: st.DrawFn, image: bytes) -> bytes:
    """A database with some bytes changed, or cut off, or with another byte order of a part."""
    changed = bytearray(image)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(image) - 1))
        piece = draw(st.binary(min_size=1, max_size=8))
        changed[at : at + len(piece)] = piece
    return bytes(changed[: draw(st.sampled_from([len(image), len(image) // 2, 4096, 100, 1]))])


def lines_of(*known: bytes) -> st.SearchStrategy[bytes]:
    """Lines that nearly are the right ones."""
    line = st.sampled_from(known) | st.binary(max_size=12).filter(lambda raw: b"\n" not in raw)
    return st.lists(line, max_size=9).map(lambda lines: b"".join(line + b"\n" for line in lines)) | st.binary(
        max_size=80
    )


MANIFEST_LINES = (
    *(b"C" + b"a" * 40, b"C" + b"A" * 40, b"Rd41d8cd98f00b204e9800998ecf8427e", b"X" + b"0" * 40),
    *(b"D240", b"S1", b"S99999999999999999999", b"B1" + b"0" * 30, b"T-1"),
    *(b"Na.b", b"Gyes", b"Ayes", b"Lx", b"--"),
)


@given(lines_of(*MANIFEST_LINES))
@unhurried
def test_any_text_is_a_manifest_or_refused(body: bytes) -> None:
    try:
        manifest = Manifest.parse(body)
    except FormatError:
        return
    assert Manifest.parse(manifest.body()) == manifest


@given(
    st.sampled_from([b"20261123032526\nE20261223032526\nNa.b\n", b""]),
    lines_of(b"A4:" * 19 + b"A4", b"a4" * 20, b"Vpkcs7", b"Wcachain", b"--", b"04:" * 19 + b"04-RMD160 # key 2"),
)
@unhurried
def test_any_text_is_a_whitelist_or_refused(head: bytes, rest: bytes) -> None:
    try:
        whitelist = Whitelist.parse(head + rest)
    except FormatError:
        return
    assert Whitelist.parse(whitelist.body()) == whitelist


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda raw: raw + b"\n--\n" + b"a" * 40 + b"\n" + raw))
@unhurried
def test_any_file_is_signed_in_form_or_refused(blob: bytes) -> None:
    try:
        parts = split_signed(blob)
    except FormatError:
        return
    assert join_signed(parts) == blob


@given(st.data())
@unhurried
def test_any_damaged_tag_database_is_read_or_refused(data: st.DataObject) -> None:
    image = data.draw(damaged(history()) | st.binary(max_size=200))
    try:
        tags = History.from_bytes(image)
        again = History.from_bytes(tags.to_bytes())
    except FormatError:
        return
    assert (again.tags(), again.branches(), again.fqrn) == (tags.tags(), tags.branches(), tags.fqrn)
    assert again.check() == tags.check()


@given(st.data())
@unhurried
def test_any_damaged_reflog_is_read_or_refused(data: st.DataObject) -> None:
    image = data.draw(damaged(reflog()) | st.binary(max_size=200))
    try:
        log = Reflog.from_bytes(image, fqrn="a.b")
        entries = log.entries()
        log.add(SHA1.digest(b"new"), RefType.CATALOG, 9)
        after = Reflog.from_bytes(log.to_bytes(), fqrn="a.b").entries()
    except FormatError:
        return
    assert {entry.digest for entry in after} == {entry.digest for entry in entries} | {SHA1.digest(b"new")}


@given(st.binary(max_size=100), st.sampled_from(Compression), st.none() | st.integers(0, 50))
@unhurried
def test_any_bytes_inflate_or_are_refused(stored: bytes, compression: Compression, limit: int | None) -> None:
    try:
        content = decompress(stored, compression, limit=limit)
    except FormatError:
        return
    assert limit is None or len(content) <= limit
    assert decompress(compress(content, compression), compression) == content


@given(
    st.from_regex(r"data/[0-9a-fA-F]{2}/[0-9a-fA-F]{38}(-rmd160|-shake128|-sha1)?[A-Z]{0,2}", fullmatch=True)
    | st.text(max_size=60)
)
@unhurried
def test_any_path_is_that_of_an_object_or_refused(path: str) -> None:
    try:
        address = Address.from_path(path)
    except FormatError:
        return
    assert address.path == path


@given(st.data())
@unhurried
def test_any_text_is_a_certificate_that_is_kept_as_it_is_or_refused(data: st.DataObject) -> None:
    pem = golden("sha1").certificate
    at = data.draw(st.integers(0, len(pem)))
    text = pem[:at] + data.draw(st.binary(max_size=4)) + pem[at + data.draw(st.integers(0, 4)) :]
    try:
        certificate = Certificate.from_pem(text)
    except FormatError:
        return
    assert certificate.pem == text
    assert certificate.fingerprint(SHA1) == SHA1.digest(certificate.der)
    assert certificate.public_key.key_size >= 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | some.texts,
    lambda inner: st.lists(inner) | st.dictionaries(some.texts, inner),
    max_leaves=5,
)


@given(some.texts, some.texts, st.lists(some.texts, max_size=3), st.dictionaries(some.texts, json_values, max_size=3))
@unhurried
def test_what_is_said_in_the_metainfo_is_read_by_every_json_parser(
    administrator: str, description: str, replicas: list[str], custom: dict[str, object]
) -> None:
    content = make_metainfo(administrator=administrator, description=description, stratum1s=replicas, custom=custom)
    assert content.isascii()
    members = json.loads(content)
    assert (members["administrator"], members["description"]) == (administrator, description)
    assert (members["recommended-stratum1s"], members["custom"]) == (replicas, custom)


numbers = st.dictionaries(st.sampled_from(COUNTER_NAMES), st.integers(0, 2**50))


@given(numbers, numbers, numbers)
@unhurried
def test_counters_are_numbers_by_name_that_add_up(first: dict, second: dict, third: dict) -> None:
    one, two, three = (Counters(**given) for given in (first, second, third))
    assert Counters(**one.as_mapping()) == one
    assert list(one.as_mapping()) == list(COUNTER_NAMES)
    assert operator.add(one, two) == operator.add(two, one)
    assert one + (two + three) == (one + two) + three
    assert one + two - two == one
    assert one + Counters() == one


@given(some.digests, st.sampled_from(Kind))
@unhurried
def test_a_digest_has_one_text_and_one_path(digest: Digest, kind: Kind) -> None:
    address = Address(digest, kind)
    assert str(address) == f"{digest}{kind.value}"
    assert address.path == f"data/{str(digest)[:2]}/{str(digest)[2:]}{kind.value}"
    tag = "" if digest.algorithm is SHA1 else f"-{digest.algorithm.value}"
    assert str(digest) == digest.raw.hex() + tag
