"""The certificate of a repository: a container for the public signing key, trusted because the whitelist lists it.

Clients look at the first certificate of the PEM text only, and ignore validity period, subject and issuer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.errors import SignatureError

VALIDITY_DAYS = 365
"""What ``cvmfs_server`` writes; nothing reads it."""

_NAME_LIMIT = 30
"""Characters of the repository name that fit into a common name of 64 (``cvmfs_server_ssl.sh``)."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A signing certificate: `pem` is the text as stored, `der` the encoding of its first certificate."""

    pem: bytes
    der: bytes

    @classmethod
    def from_pem(cls, pem: bytes) -> Certificate:
        """Read PEM text; raises SignatureError if it does not begin with a certificate for an RSA key."""
        try:
            parsed = x509.load_pem_x509_certificate(pem)
            public_key = parsed.public_key()
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion) as err:
            raise SignatureError(f"not a certificate in PEM form: {err}") from err
        if not isinstance(public_key, rsa.RSAPublicKey):
            raise SignatureError(f"the certificate holds a {type(public_key).__name__}, expected an RSA key")
        return cls(pem, parsed.public_bytes(Encoding.DER))

    @property
    def public_key(self) -> rsa.RSAPublicKey:
        """The key that verifies manifests."""
        public_key = x509.load_der_x509_certificate(self.der).public_key()
        assert isinstance(public_key, rsa.RSAPublicKey)
        return public_key

    def fingerprint(self, algorithm: HashAlgorithm) -> Digest:
        """The hash of the DER encoding, as whitelists list it (``signature.cc: HashCertificate``)."""
        return algorithm.digest(self.der)


def common_name(fqrn: str) -> str:
    """The subject ``cvmfs_server`` gives a certificate; long repository names are cut to fit."""
    shown = fqrn if len(fqrn) <= _NAME_LIMIT else f"{fqrn[:_NAME_LIMIT]}[...]"
    return f"{shown} CernVM-FS Release Managers"


def make_certificate(fqrn: str, private_key: rsa.RSAPrivateKey, *, now: datetime, serial: int) -> bytes:
    """A self-signed certificate in PEM form, valid for 365 days from `now` (aware).

    `private_key` may be any implementation of the abstract class, also one whose secret part is elsewhere: only its
    `sign` and `public_key` are called. `serial` is a positive number of at most 159 bits.
    """
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name(fqrn))])
    builder = x509.CertificateBuilder(
        issuer_name=name,
        subject_name=name,
        public_key=private_key.public_key(),
        serial_number=serial,
        not_valid_before=now,
        not_valid_after=now + timedelta(days=VALIDITY_DAYS),
    )
    return builder.sign(private_key, SHA256()).public_bytes(Encoding.PEM)
