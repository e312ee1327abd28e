"""Signatures of manifests and whitelists, and the frame both files share.

The two differ, and must: a manifest carries an ordinary RSASSA-PKCS1-v1_5 signature with SHA-1 by the repository's
signing key, a whitelist the bare hash string in PKCS#1 v1.5 type-1 padding, without DigestInfo, by the master key
(``signature.cc: Sign, Verify, SignRsa, VerifyRsa``). Both sign the *hash string* of the text before the ``--`` line.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from functions.cvmfs.address import Digest
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.errors import AddressError, SignatureError

FILE_LIMIT = 1 << 20
"""Bytes of the largest manifest or whitelist a client takes (``network/sink_mem.h: kMaxMemSize``)."""

KEY_BITS = 2048
"""The key size of ``cvmfs_server`` (``server/cvmfs_server_ssl.sh``)."""

REPOSITORY_NAME = re.compile(r"[!-~]+")
"""What may stand on a name line: printable ASCII without blanks. Whoever makes repositories is much stricter."""

_SEPARATOR = b"\n--\n"


class Signer(Protocol):
    """Signs for one repository, wherever its keys are; errors of a remote vault pass through unchanged."""

    def sign_manifest(self, hash_string: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-1 over `hash_string`, by the repository's signing key."""

    def sign_whitelist(self, hash_string: bytes) -> bytes:
        """PKCS#1 v1.5 type-1 padding of `hash_string` itself, by the master key."""


class KeySigner:
    """A signer that holds the keys: for imported repositories, repositories in folders, and tests.

    Takes private keys in PEM form, PKCS#1 or PKCS#8; without a master key it signs manifests only. Raises
    SignatureError for anything that is not an unencrypted RSA key.
    """

    def __init__(self, signing_key_pem: bytes, master_key_pem: bytes | None = None) -> None:
        self._signing_key = load_private_key(signing_key_pem)
        self._master_key = None if master_key_pem is None else load_private_key(master_key_pem)

    def __repr__(self) -> str:
        return f"KeySigner(master_key={'no' if self._master_key is None else 'yes'})"

    @property
    def signing_public_key(self) -> rsa.RSAPublicKey:
        """The public half of the signing key, which the certificate holds."""
        return self._signing_key.public_key()

    @property
    def public_key_pem(self) -> bytes:
        """The public half of the master key, as clients are configured with it; raises SignatureError without one."""
        return public_pem(self._master().public_key())

    def sign_manifest(self, hash_string: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-1 over `hash_string`, by the repository's signing key."""
        return self._signing_key.sign(hash_string, PKCS1v15(), SHA1())  # noqa: S303  # the format allows nothing else

    def sign_whitelist(self, hash_string: bytes) -> bytes:
        """PKCS#1 v1.5 type-1 padding of `hash_string` itself; raises SignatureError without a master key."""
        return self._master().sign(hash_string, PKCS1v15(), NoDigestInfo())

    def _master(self) -> rsa.RSAPrivateKey:
        if self._master_key is None:
            raise SignatureError("this signer has no master key, so it cannot sign whitelists")
        return self._master_key


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key for files: private half in PKCS#8, public half in SubjectPublicKeyInfo, both PEM, unencrypted."""

    private_pem: bytes = field(repr=False)
    public_pem: bytes


def new_key() -> KeyPair:
    """A fresh RSA key of 2048 bits, exponent 65537."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    return KeyPair(
        private_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        public_pem=public_pem(key.public_key()),
    )


def load_private_key(pem: bytes) -> rsa.RSAPrivateKey:
    """The RSA key in PEM text; raises SignatureError, which does not quote the text."""
    try:
        # Proving its primes takes 45 ms, longer than a publish; a bad key shows in signatures that nobody accepts.
        key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SignatureError("not an unencrypted private key in PEM form") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise SignatureError(f"the private key is a {type(key).__name__}, expected an RSA key")
    return key


def load_public_key(pem: bytes | str) -> rsa.RSAPublicKey:
    """The RSA key in a ``.pub`` file; raises SignatureError for what ``PEM_read_PUBKEY`` of a client refuses."""
    text = pem.encode() if isinstance(pem, str) else pem
    try:
        key = load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as err:
        raise SignatureError(f"not a public key in PEM form: {err}") from err
    if not isinstance(key, rsa.RSAPublicKey) or b"BEGIN PUBLIC KEY" not in text:
        raise SignatureError("not an RSA public key of the form BEGIN PUBLIC KEY")
    return key


def public_pem(key: rsa.RSAPublicKey) -> bytes:
    """A public key as clients read it: SubjectPublicKeyInfo in PEM form."""
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def verify_manifest_signature(certificate: Certificate, hash_string: bytes, signature: bytes) -> None:
    """Check a manifest's signature; raises SignatureError."""
    try:
        certificate.public_key.verify(signature, hash_string, PKCS1v15(), SHA1())  # noqa: S303
    except InvalidSignature as err:
        raise SignatureError("the manifest is not signed by the key of its certificate") from err


def verify_whitelist_signature(public_keys: Sequence[bytes | str], hash_string: bytes, signature: bytes) -> None:
    """Check a whitelist's signature against master keys in PEM form, any of which may match; raises SignatureError."""
    for key in [load_public_key(pem) for pem in public_keys]:
        try:
            recovered = key.recover_data_from_signature(signature, PKCS1v15(), None)
        except InvalidSignature:
            continue
        if recovered == hash_string:
            return
    raise SignatureError(f"the whitelist is not signed by any of the {len(public_keys)} given public keys")


class SignedParts(NamedTuple):
    """A signed file taken apart: `body` with its last line feed, the hash string, and the signature to the end."""

    body: bytes
    hash_string: bytes
    signature: bytes


def split_signed(blob: bytes) -> SignedParts:
    """Take a signed file apart at its first ``--`` line and check the hash line against the body.

    The signature itself is not looked at. Raises SignatureError; source: ``signature.cc: VerifyLetter``.
    """
    if len(blob) > FILE_LIMIT:
        raise SignatureError(f"the signed file has {len(blob)} bytes, clients take at most {FILE_LIMIT}")
    end = blob.find(_SEPARATOR)
    if end < 0:
        raise SignatureError("the file has no '--' line, so it is not signed")
    body = blob[: end + 1]
    hash_string, line_feed, signature = blob[end + len(_SEPARATOR) :].partition(b"\n")
    if not line_feed or not signature:
        raise SignatureError("the file ends before its signature")
    try:
        expected = Digest.parse(hash_string.decode("ascii", "replace"))
    except AddressError as err:
        raise SignatureError(f"the line after '--' is not a hash: {err}") from err
    actual = expected.algorithm.digest(body)
    if actual != expected:
        raise SignatureError(f"the signed text hashes to {actual}, its hash line says {expected}")
    return SignedParts(body, hash_string, signature)


def join_signed(parts: SignedParts) -> bytes:
    """The signed file as it is stored."""
    return b"".join((parts.body, b"--\n", parts.hash_string, b"\n", parts.signature))
