"""The whitelist: positional lines, fingerprints, expiry by the hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.errors import SignatureError, WhitelistError, WhitelistExpired
from functions.cvmfs.signing import KeySigner
from functions.cvmfs.whitelist import SignedWhitelist, Whitelist, parse_fingerprint, render_fingerprint
from tests.golden import GOLDEN, NOW, golden

SHA1 = Digest.parse("a42925" + "00" * 16 + "9d")
RMD160 = Digest.parse("04e8" + "11" * 17 + "c1-rmd160")
BODY = b"""\
20261123032526
E20261223032526
Ntest.example.org
A4:29:25:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:9D
04:E8:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:11:C1-RMD160
"""
WHITELIST = Whitelist(
    fqrn="test.example.org",
    issued=datetime(2026, 11, 23, 3, 25, 26, tzinfo=UTC),
    expires=datetime(2026, 12, 23, 3, 25, 26, tzinfo=UTC),
    fingerprints=(SHA1, RMD160),
)


def signer(name: str = "sha1") -> KeySigner:
    return KeySigner(golden(name).signing_key, golden(name).master_key)


def test_a_whitelist_is_read_and_written():
    assert Whitelist.parse(BODY) == WHITELIST
    assert WHITELIST.body() == BODY


@pytest.mark.parametrize("name", GOLDEN)
def test_an_official_whitelist_verifies_and_is_written_back_byte_for_byte(name):
    repository = golden(name)
    blob = repository.read(".cvmfswhitelist")
    signed = SignedWhitelist.from_bytes(blob)
    whitelist = signed.verify([repository.public_key], fqrn=repository.fqrn, now=NOW)
    assert whitelist.admits(Certificate.from_pem(repository.certificate))
    assert not whitelist.admits(Certificate.from_pem(golden("sha1" if name != "sha1" else "rmd160").certificate))
    assert whitelist.body() == signed.body
    assert signed.to_bytes() == blob


@pytest.mark.parametrize("name", GOLDEN)
def test_making_an_official_whitelist_again_gives_the_official_bytes(name):
    repository = golden(name)
    official = SignedWhitelist.from_bytes(repository.read(".cvmfswhitelist"))
    algorithm = HashAlgorithm(name)
    fingerprint = Certificate.from_pem(repository.certificate).fingerprint(algorithm)
    issued = official.unverified.issued + timedelta(microseconds=999_999)
    ours = Whitelist.make(repository.fqrn, [fingerprint], now=issued)
    assert ours == official.unverified
    assert ours.sign(signer(name), algorithm).to_bytes() == repository.read(".cvmfswhitelist")


def test_a_certificate_is_admitted_by_a_fingerprint_of_any_algorithm():
    certificate = Certificate.from_pem(golden("sha1").certificate)
    for algorithm in HashAlgorithm:
        listed = replace(WHITELIST, fingerprints=(SHA1, certificate.fingerprint(algorithm)))
        assert listed.admits(certificate)
    assert not WHITELIST.admits(certificate)


def test_times_of_another_zone_are_written_in_utc():
    rome = timezone(timedelta(hours=1))
    whitelist = Whitelist.make("a.b", [SHA1], now=datetime(2026, 1, 1, 0, 30, tzinfo=rome), days=7)
    assert whitelist.body().splitlines()[:2] == [b"20251231233000", b"E20260107233000"]


@pytest.mark.parametrize(
    ("now", "valid"),
    [
        pytest.param(datetime(2026, 11, 23, 3, 25, 26, tzinfo=UTC), True, id="when issued"),
        pytest.param(datetime(2026, 12, 23, 2, 59, 59, tzinfo=UTC), True, id="in the last second of the hour before"),
        pytest.param(datetime(2026, 12, 23, 3, 0, 0, tzinfo=UTC), False, id="in the expiry hour, before the minute"),
        pytest.param(datetime(2026, 12, 23, 3, 59, 59, tzinfo=timezone(timedelta(hours=1))), True, id="in Rome"),
        pytest.param(datetime(2027, 1, 1, tzinfo=UTC), False, id="a year later"),
    ],
)
def test_a_whitelist_ends_with_the_hour_before_its_expiry_hour(now, valid):
    signed = WHITELIST.sign(signer(), HashAlgorithm.SHA1)
    keys = [golden("sha1").public_key]
    if valid:
        assert signed.verify(keys, fqrn="test.example.org", now=now) == WHITELIST
    else:
        with pytest.raises(WhitelistExpired, match="valid until 2026-12-23 03:00 UTC"):
            signed.verify(keys, fqrn="test.example.org", now=now)


def test_a_whitelist_of_another_repository_does_not_verify():
    signed = WHITELIST.sign(signer(), HashAlgorithm.SHA1)
    with pytest.raises(SignatureError, match=r"is for 'test\.example\.org', expected 'other"):
        signed.verify([golden("sha1").public_key], fqrn="other.example.org", now=NOW)


def test_a_whitelist_signed_by_an_unknown_master_key_does_not_verify():
    signed = WHITELIST.sign(signer("rmd160"), HashAlgorithm.SHA1)
    with pytest.raises(SignatureError, match="not signed by any"):
        signed.verify([golden("sha1").public_key], fqrn="test.example.org", now=NOW)


def test_an_expired_whitelist_with_a_bad_signature_is_called_forged_not_expired():
    signed = WHITELIST.sign(signer("rmd160"), HashAlgorithm.SHA1)
    with pytest.raises(SignatureError):
        signed.verify([golden("sha1").public_key], fqrn="test.example.org", now=datetime(2030, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_the_hash_line_uses_the_algorithm_of_the_repository(algorithm):
    signed = WHITELIST.sign(signer(), algorithm)
    assert signed.hash_string == str(algorithm.digest(BODY)).encode()
    assert SignedWhitelist.from_bytes(signed.to_bytes()) == signed


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("A4:29:25" + ":00" * 16 + ":9D", SHA1, id="as written"),
        pytest.param("a42925" + "00" * 16 + "9d", SHA1, id="lower case without colons"),
        pytest.param("A4:29:25" + ":00" * 16 + ":9D # the new key", SHA1, id="a remark behind it"),
        pytest.param("A4:29:25" + ":00" * 16 + ":9D\tx", SHA1, id="a tab behind it"),
        pytest.param(render_fingerprint(RMD160), RMD160, id="with a tag"),
        pytest.param(" A4:29:25" + ":00" * 16 + ":9D", None, id="a blank before it"),
        pytest.param("A4:29", None, id="too short"),
        pytest.param("# nothing", None, id="a remark"),
        pytest.param("", None, id="a blank line"),
        pytest.param("0" * 32, None, id="an MD5"),
    ],
)
def test_a_fingerprint_is_found_in_its_line(line, expected):
    assert parse_fingerprint(line) == expected


def test_options_and_remarks_are_carried_and_a_remark_never_becomes_an_option():
    lines = BODY.decode().splitlines()
    body = "\n".join([*lines[:3], "Vpkcs7", "Wcachain", lines[3], "# old key", "Vpkcs7", "", ""]).encode()
    whitelist = Whitelist.parse(body)
    assert whitelist.options == ("Vpkcs7", "Wcachain")
    assert whitelist.remarks == ("# old key", "Vpkcs7", "")
    assert whitelist.body() == body
    moved = Whitelist.parse("\n".join([*lines[:3], "# remark", "Wcachain", lines[3], ""]).encode())
    assert moved.options == ()
    assert Whitelist.parse(moved.body()) == moved


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "at least three lines", id="empty"),
        pytest.param(BODY[:-1], "at least three lines", id="no line feed at the end"),
        pytest.param(BODY.replace(b"20261123032526\nE", b"2026112303252\nE"), "not a time of 14", id="13 digits"),
        pytest.param(BODY.replace(b"E20261223", b"E20261323"), "not a time", id="month 13"),
        pytest.param(BODY.replace(b"E20261223", b"E2026122x"), "not a time", id="a letter in the expiry"),
        pytest.param(BODY.replace(b"E2026", b"2026"), "second line", id="no E"),
        pytest.param(BODY.replace(b"Ntest", b"test"), "third with N", id="no N"),
        pytest.param(BODY.replace(b"Ntest.example.org", b"N"), "cannot hold the repository name", id="empty name"),
        pytest.param(b"\n".join(BODY.splitlines()[:3]) + b"\n", "no fingerprint", id="no fingerprint"),
    ],
)
def test_a_malformed_whitelist_is_refused(body, reason):
    with pytest.raises(WhitelistError, match=reason):
        Whitelist.parse(body)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"fqrn": "a\nVpkcs7"}, id="a line feed in the name"),
        pytest.param({"fingerprints": ()}, id="no fingerprint"),
        pytest.param({"expires": NOW.replace(tzinfo=None)}, id="a time without zone"),
        pytest.param({"options": ("Wcachain", "Vpkcs7")}, id="options in the wrong order"),
        pytest.param({"options": ("Xother",)}, id="an unknown option"),
        pytest.param({"remarks": ("--",)}, id="a separator as remark"),
        pytest.param({"remarks": ("a\nb",)}, id="a line feed in a remark"),
        pytest.param({"remarks": (render_fingerprint(SHA1),)}, id="a fingerprint as remark"),
    ],
)
def test_a_whitelist_that_would_be_read_differently_cannot_be_made(change):
    with pytest.raises(WhitelistError):
        replace(WHITELIST, **change)
