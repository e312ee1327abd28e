"""The manifest: field lines as the official tools write them, and what a reader accepts."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.compression import STOCK
from functions.cvmfs.errors import ManifestError, SignatureError
from functions.cvmfs.manifest import Manifest, SignedManifest
from functions.cvmfs.objects import pack, unpack
from functions.cvmfs.signing import KeySigner
from tests.golden import GOLDEN, golden

LETTER = b"""\
C64551dccfbe0a48de7618dd7deb290200b474759
B1442336
Rd41d8cd98f00b204e9800998ecf8427e
D240
S42
Gyes
Ano
Ntest.example.org
X731cca9476eb882f5a3f24aaa38001105a0e35eb
H5798f7f4ca7585d850eea64610a1f73d8f8de7a3
T1700000000
M0bcd9bf44dd5c4a9d1b1d4c8a5e5c5f2b3f7d1a2
Ye8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78
"""
MANIFEST = Manifest(
    root=Digest.parse("64551dccfbe0a48de7618dd7deb290200b474759"),
    root_size=1442336,
    ttl=240,
    revision=42,
    garbage_collectable=True,
    alternative_path=False,
    fqrn="test.example.org",
    certificate=Digest.parse("731cca9476eb882f5a3f24aaa38001105a0e35eb"),
    history=Digest.parse("5798f7f4ca7585d850eea64610a1f73d8f8de7a3"),
    published_at=1700000000,
    metainfo=Digest.parse("0bcd9bf44dd5c4a9d1b1d4c8a5e5c5f2b3f7d1a2"),
    reflog=Digest.parse("e8ec3d88b62ebf526e4e5a4ff6162a3aa48a6b78"),
)


def signer(name: str = "sha1") -> KeySigner:
    return KeySigner(golden(name).signing_key, golden(name).master_key)


def test_the_example_letter_of_the_format_is_read_and_written():
    assert len(LETTER) == 301
    assert Manifest.parse(LETTER) == MANIFEST
    assert MANIFEST.body() == LETTER


def test_the_example_letter_gets_the_hash_line_of_the_format():
    signed = MANIFEST.sign(signer())
    assert signed.hash_string == b"4f3bb068cc81630dbf938c137ff341c42b797abe"
    assert hashlib.sha1(signed.hash_string).hexdigest() == "da4988a39509407a209503d28f1fdb0181fcefda"
    assert signed.to_bytes() == LETTER + b"--\n" + signed.hash_string + b"\n" + signed.signature


@pytest.mark.parametrize("name", GOLDEN)
def test_an_official_manifest_verifies_and_is_written_back_byte_for_byte(name):
    repository = golden(name)
    blob = repository.read(".cvmfspublished")
    signed = SignedManifest.from_bytes(blob)
    manifest = signed.verify(Certificate.from_pem(repository.certificate))
    assert manifest.fqrn == repository.fqrn
    assert manifest.revision == 4
    assert manifest.unknown == ()
    assert manifest.body() == signed.body
    assert signed.to_bytes() == blob


@pytest.mark.parametrize("name", GOLDEN)
def test_signing_an_official_manifest_with_its_key_gives_the_official_signature(name):
    signed = SignedManifest.from_bytes(golden(name).read(".cvmfspublished"))
    # PKCS#1 v1.5 has no randomness
    assert signed.unverified.sign(signer(name)) == signed


@pytest.mark.parametrize("name", GOLDEN)
def test_every_object_an_official_manifest_names_is_there_and_hashes_to_its_name(name):
    repository = golden(name)
    manifest = SignedManifest.from_bytes(repository.read(".cvmfspublished")).unverified
    for digest, kind in (
        (manifest.root, Kind.CATALOG),
        (manifest.certificate, Kind.CERTIFICATE),
        (manifest.history, Kind.HISTORY),
        (manifest.metainfo, Kind.METAINFO),
    ):
        address = Address(digest, kind)
        content = unpack(address, repository.read(address.path))
        if kind is Kind.CERTIFICATE:
            assert content == repository.certificate
        if kind is Kind.CATALOG:
            assert len(content) == manifest.root_size
        # the official objects are stock zlib level 6, so packing the content again gives the same name
        assert pack(content, kind, digest.algorithm, codec=STOCK).address == address
        if kind in {Kind.CERTIFICATE, Kind.METAINFO}:
            assert pack(content, kind, digest.algorithm).address == address


def test_a_manifest_signed_by_another_key_does_not_verify():
    signed = MANIFEST.sign(signer("rmd160"))
    assert signed.unverified == MANIFEST
    with pytest.raises(SignatureError, match="not signed by the key"):
        signed.verify(Certificate.from_pem(golden("sha1").certificate))


def test_a_manifest_whose_text_was_exchanged_does_not_verify():
    ours = MANIFEST.sign(signer())
    theirs = replace(MANIFEST, revision=43).sign(signer("rmd160"))
    forged = replace(ours, body=theirs.body, hash_string=theirs.hash_string)
    with pytest.raises(SignatureError):
        SignedManifest.from_bytes(forged.to_bytes()).verify(Certificate.from_pem(golden("sha1").certificate))


def test_the_hash_line_uses_the_algorithm_of_the_root_catalog():
    root = golden("shake128")
    manifest = SignedManifest.from_bytes(root.read(".cvmfspublished")).unverified
    assert manifest.sign(signer()).hash_string.endswith(b"-shake128")


def test_optional_fields_are_left_out_when_there_is_nothing_to_say():
    short = replace(MANIFEST, certificate=None, history=None, metainfo=None, reflog=None)
    assert [line[:1] for line in short.body().splitlines()] == [b"C", b"B", b"R", b"D", b"S", b"G", b"A", b"N", b"T"]
    assert Manifest.parse(short.body()) == short


def test_what_only_newer_writers_know_is_carried_along():
    body = LETTER + b"Zone\nZtwo\nQ\xff\xfe\n"
    manifest = Manifest.parse(body)
    assert manifest.unknown == (("Z", "one"), ("Z", "two"), ("Q", "\udcff\udcfe"))
    assert manifest.body() == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"".join(sorted(LETTER.splitlines(keepends=True))), MANIFEST, id="fields in another order"),
        pytest.param(b"S41\n" + LETTER, MANIFEST, id="of a repeated field the last one counts"),
        pytest.param(LETTER + b"\n\n", MANIFEST, id="blank lines"),
        pytest.param(LETTER + b"--\nS43\n", MANIFEST, id="text after a separator"),
        pytest.param(
            LETTER.replace(b"Gyes", b"GYES"), replace(MANIFEST, garbage_collectable=False), id="yes in capitals"
        ),
        pytest.param(LETTER.replace(b"B1442336\n", b""), replace(MANIFEST, root_size=0), id="no root size"),
        pytest.param(LETTER.replace(b"T1700000000\n", b""), replace(MANIFEST, published_at=0), id="no time"),
        pytest.param(
            LETTER.replace(b"Gyes\nAno\n", b""), replace(MANIFEST, garbage_collectable=False), id="no G and A"
        ),
        pytest.param(
            LETTER.replace(b"S42", b"S18446744073709551615"), replace(MANIFEST, revision=2**64 - 1), id="2^64-1"
        ),
    ],
)
def test_a_reader_is_as_lenient_as_the_official_one(body, expected):
    assert Manifest.parse(body) == expected


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "no field C, R, D, S, N", id="empty"),
        pytest.param(LETTER.replace(b"S42\n", b""), "no field S", id="no revision"),
        pytest.param(LETTER.replace(b"Ntest", b"qtest"), "no field N", id="no name"),
        pytest.param(b"--\n" + LETTER, "no field", id="everything after the separator"),
        pytest.param(LETTER.replace(b"S42", b"S-1"), "field S is '-1'", id="negative"),
        pytest.param(LETTER.replace(b"S42", b"S"), "field S is ''", id="empty number"),
        pytest.param(LETTER.replace(b"S42", b"S18446744073709551616"), "field S cannot hold", id="2^64"),
        pytest.param(LETTER.replace(b"S42", b"S" + b"9" * 5000), "field S is", id="5000 digits"),
        pytest.param(LETTER.replace(b"S42", "S٤٢".encode()), "field S is", id="digits of another script"),
        pytest.param(LETTER.replace(b"C6455", b"CXYZ5"), "field C: ", id="root is no hash"),
        pytest.param(LETTER.replace(b"H5798", b"H5"), "field H: ", id="history is no hash"),
        pytest.param(LETTER.replace(b"Rd41d", b"Rd41e"), "field R is", id="root path hash"),
        pytest.param(LETTER.replace(b"Ntest.example.org", b"N"), "field N cannot hold", id="empty name"),
        pytest.param(LETTER.replace(b"Ntest.example.org", b"Na b"), "field N cannot hold", id="a blank in the name"),
    ],
)
def test_a_malformed_manifest_is_refused_by_field(body, reason):
    with pytest.raises(ManifestError, match=reason):
        Manifest.parse(body)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"revision": -1}, id="negative revision"),
        pytest.param({"ttl": 2**64}, id="TTL above 64 bits"),
        pytest.param({"fqrn": "a\nS99"}, id="a line feed in the name"),
        pytest.param({"unknown": (("S", "99"),)}, id="a known field among the unknown"),
        pytest.param({"unknown": (("Z", "a\nS99"),)}, id="a line feed in an unknown field"),
        pytest.param({"unknown": (("-", "-"),)}, id="a separator as a field"),
        pytest.param({"unknown": (("", "x"),)}, id="no letter"),
    ],
)
def test_a_manifest_that_would_be_read_differently_cannot_be_made(change):
    with pytest.raises(ManifestError):
        replace(MANIFEST, **change)
