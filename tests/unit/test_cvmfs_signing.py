"""Signatures and certificates: the exact blocks the official client expects."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.certificate import Certificate, common_name, make_certificate
from functions.cvmfs.errors import SignatureError
from functions.cvmfs.signing import (
    FILE_LIMIT,
    KeySigner,
    join_signed,
    load_private_key,
    load_public_key,
    new_key,
    split_signed,
    verify_manifest_signature,
    verify_whitelist_signature,
)
from tests.golden import GOLDEN, golden

HASH_STRING = b"edde5308e502dd5e8fe405c56f5700f7477dc319"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def keys():
    repository = golden("sha1")
    return KeySigner(repository.signing_key, repository.master_key)


def decrypted(key: rsa.RSAPublicKey, signature: bytes) -> bytes:
    numbers = key.public_numbers()
    return pow(int.from_bytes(signature, "big"), numbers.e, numbers.n).to_bytes(256, "big")


def elliptic_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def test_a_manifest_signature_decrypts_to_the_block_of_the_format_with_a_digest_info(keys):
    block = decrypted(keys.signing_public_key, keys.sign_manifest(HASH_STRING))
    digest_info = bytes.fromhex("3021300906052b0e03021a05000414")
    inner = bytes.fromhex("4df93f7963badac13c4d6f3c374cbdd3ccec7201")
    assert block == b"\0\1" + b"\xff" * 218 + b"\0" + digest_info + inner
    assert inner == hashlib.sha1(HASH_STRING).digest()


def test_a_whitelist_signature_decrypts_to_the_bare_hash_string(keys):
    block = decrypted(load_public_key(keys.public_key_pem), keys.sign_whitelist(HASH_STRING))
    assert block == b"\0\1" + b"\xff" * 213 + b"\0" + HASH_STRING


def test_a_whitelist_signature_verifies_with_any_of_several_keys_in_text_or_bytes(keys):
    signature = keys.sign_whitelist(HASH_STRING)
    other = golden("rmd160").public_key
    verify_whitelist_signature([other.decode(), keys.public_key_pem.decode()], HASH_STRING, signature)
    with pytest.raises(SignatureError, match="any of the 1 given"):
        verify_whitelist_signature([other], HASH_STRING, signature)
    with pytest.raises(SignatureError, match="any of the 0 given"):
        verify_whitelist_signature([], HASH_STRING, signature)


def test_the_two_kinds_of_signatures_do_not_pass_for_each_other(keys):
    repository = golden("sha1")
    same_key_for_both = KeySigner(repository.signing_key, repository.signing_key)
    certificate = Certificate.from_pem(repository.certificate)
    with pytest.raises(SignatureError):
        verify_manifest_signature(certificate, HASH_STRING, same_key_for_both.sign_whitelist(HASH_STRING))
    with pytest.raises(SignatureError):
        verify_whitelist_signature(
            [same_key_for_both.public_key_pem], HASH_STRING, same_key_for_both.sign_manifest(HASH_STRING)
        )


def test_a_signature_of_another_hash_string_does_not_verify(keys):
    certificate = Certificate.from_pem(golden("sha1").certificate)
    verify_manifest_signature(certificate, HASH_STRING, keys.sign_manifest(HASH_STRING))
    with pytest.raises(SignatureError, match="not signed by the key of its certificate"):
        verify_manifest_signature(certificate, HASH_STRING, keys.sign_manifest(HASH_STRING[::-1]))
    with pytest.raises(SignatureError):
        verify_whitelist_signature([keys.public_key_pem], HASH_STRING, keys.sign_whitelist(HASH_STRING[::-1]))


def test_a_signer_without_master_key_signs_manifests_only():
    signer = KeySigner(golden("sha1").signing_key)
    assert len(signer.sign_manifest(HASH_STRING)) == 256
    with pytest.raises(SignatureError, match="no master key"):
        signer.sign_whitelist(HASH_STRING)
    with pytest.raises(SignatureError, match="no master key"):
        _ = signer.public_key_pem


def test_the_public_key_of_a_signer_is_the_one_that_clients_are_given():
    repository = golden("sha1")
    assert KeySigner(repository.signing_key, repository.master_key).public_key_pem == repository.public_key


def test_a_fresh_key_pair_signs_and_shows_no_secret():
    pair = new_key()
    signer = KeySigner(pair.private_pem, pair.private_pem)
    verify_whitelist_signature([pair.public_pem], HASH_STRING, signer.sign_whitelist(HASH_STRING))
    assert load_private_key(pair.private_pem).key_size == 2048
    assert pair.public_pem.startswith(b"-----BEGIN PUBLIC KEY-----")
    shown = f"{pair!r} {signer!r}"
    assert "PRIVATE" not in shown
    assert pair.private_pem.splitlines()[1].decode() not in shown


def test_keys_in_the_older_pkcs1_form_are_read():
    key = load_private_key(golden("sha1").signing_key)
    older = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert KeySigner(older).sign_manifest(HASH_STRING) == KeySigner(golden("sha1").signing_key).sign_manifest(
        HASH_STRING
    )


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n", id="damaged"),
        pytest.param(
            elliptic_key().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), id="elliptic curve"
        ),
    ],
)
def test_what_is_not_an_rsa_private_key_is_refused_without_quoting_it(pem):
    with pytest.raises(SignatureError) as caught:
        KeySigner(pem)
    assert "c2VjcmV0" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(
            load_public_key(golden("sha1").public_key).public_bytes(Encoding.PEM, PublicFormat.PKCS1),
            id="BEGIN RSA PUBLIC KEY, which clients cannot load",
        ),
        pytest.param(
            elliptic_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            id="elliptic curve",
        ),
    ],
)
def test_what_is_not_a_public_key_for_clients_is_refused(pem, keys):
    with pytest.raises(SignatureError, match="public key"):
        verify_whitelist_signature([pem], HASH_STRING, keys.sign_whitelist(HASH_STRING))


def signed(body: bytes, signature: bytes = b"signature", algorithm: HashAlgorithm = HashAlgorithm.SHA1) -> bytes:
    return body + b"--\n" + str(algorithm.digest(body)).encode() + b"\n" + signature


@pytest.mark.parametrize("algorithm", HashAlgorithm)
def test_a_signed_file_is_split_at_its_first_separator_and_joined_again(algorithm):
    blob = signed(b"A1\nB2\n", b"\n--\n\x00\n--\nend\n", algorithm)
    parts = split_signed(blob)
    assert parts.body == b"A1\nB2\n"
    assert parts.signature == b"\n--\n\x00\n--\nend\n"
    assert join_signed(parts) == blob


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        pytest.param(b"", "no '--' line", id="empty"),
        pytest.param(b"<html>not found</html>\n", "no '--' line", id="an error page"),
        pytest.param(b"A1\n--", "no '--' line", id="ends in the separator"),
        pytest.param(b"A1\n--\n" + b"0" * 40, "before its signature", id="ends in the hash line"),
        pytest.param(b"A1\n--\n" + b"0" * 40 + b"\n", "before its signature", id="no signature"),
        pytest.param(signed(b"A1\n").replace(b"A1", b"A2"), "hash line says", id="text changed"),
        pytest.param(signed(b"A1\n").replace(b"\n--\n", b"\n--\n0"), "not a hash", id="hash too long"),
        pytest.param(b"A1\n--\n" + b"F" * 40 + b"\nsignature", "not a hash", id="hash in capitals"),
        pytest.param(b"A1\n--\n" + b"\xff" * 40 + b"\nsignature", "not a hash", id="hash not ASCII"),
        pytest.param(b"A1\n--\n" + b"a" * 32 + b"\nsignature", "not a hash", id="an MD5"),
        pytest.param(signed(b"A" * FILE_LIMIT + b"\n"), "at most 1048576", id="larger than clients take"),
    ],
)
def test_a_file_that_is_not_signed_properly_is_refused(blob, reason):
    with pytest.raises(SignatureError, match=reason):
        split_signed(blob)


class RemoteKey(rsa.RSAPrivateKey):
    """A key whose secret part is elsewhere: it can sign and tell its public half, nothing else."""

    def __init__(self) -> None:
        self._elsewhere = load_private_key(golden("sha1").signing_key)

    def sign(self, data, padding, algorithm):
        return self._elsewhere.sign(data, padding, algorithm)

    def public_key(self):
        return self._elsewhere.public_key()

    @property
    def key_size(self):
        return 2048

    def decrypt(self, ciphertext, padding):
        raise AssertionError

    def private_numbers(self):
        raise AssertionError

    def private_bytes(self, encoding, format, encryption_algorithm):  # noqa: A002
        raise AssertionError

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(load_private_key(golden("sha1").signing_key), id="a key in memory"),
        pytest.param(RemoteKey(), id="a key elsewhere"),
    ],
)
def test_a_certificate_is_made_as_cvmfs_server_makes_it(key, keys):
    pem = make_certificate("alice.infn.it", key, now=NOW, serial=2**158)
    parsed = x509.load_pem_x509_certificate(pem)
    assert parsed.subject.rfc4514_string() == "CN=alice.infn.it CernVM-FS Release Managers"
    assert parsed.issuer == parsed.subject
    assert parsed.serial_number == 2**158
    assert parsed.not_valid_before_utc == NOW
    assert (parsed.not_valid_after_utc - NOW).days == 365
    assert parsed.signature_hash_algorithm.name == "sha256"
    parsed.verify_directly_issued_by(parsed)
    certificate = Certificate.from_pem(pem)
    assert certificate.pem == pem
    assert certificate.public_key == keys.signing_public_key
    verify_manifest_signature(certificate, HASH_STRING, keys.sign_manifest(HASH_STRING))


def test_a_long_repository_name_is_cut_so_that_the_common_name_fits():
    assert common_name("x" * 30) == "x" * 30 + " CernVM-FS Release Managers"
    assert common_name("x" * 31) == "x" * 30 + "[...] CernVM-FS Release Managers"
    assert len(common_name("x" * 200)) <= 64
    key = load_private_key(golden("sha1").signing_key)
    assert Certificate.from_pem(make_certificate("x" * 200 + ".infn.it", key, now=NOW, serial=1)).der


def test_the_common_name_is_the_one_in_the_official_certificates():
    for name in GOLDEN:
        repository = golden(name)
        subject = x509.load_pem_x509_certificate(repository.certificate).subject
        assert subject.rfc4514_string() == f"CN={common_name(repository.fqrn)}"


def test_only_the_first_certificate_of_a_text_counts():
    first, second = golden("sha1").certificate, golden("rmd160").certificate
    both = Certificate.from_pem(b"a remark\n" + first + second)
    alone = Certificate.from_pem(first)
    assert both == replace(alone, pem=both.pem)
    assert both.fingerprint(HashAlgorithm.SHA1) == alone.fingerprint(HashAlgorithm.SHA1)
    assert both.fingerprint(HashAlgorithm.SHA1).raw == hashlib.sha1(alone.der).digest()


def elliptic_certificate() -> bytes:
    key = elliptic_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW)
    return builder.sign(
        key, x509.load_pem_x509_certificate(golden("sha1").certificate).signature_hash_algorithm
    ).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", id="damaged"),
        pytest.param(golden("sha1").public_key, id="a public key"),
        pytest.param(elliptic_certificate(), id="for an elliptic curve key"),
    ],
)
def test_what_is_not_a_certificate_for_an_rsa_key_is_refused(pem):
    with pytest.raises(SignatureError, match="certificate"):
        Certificate.from_pem(pem)
