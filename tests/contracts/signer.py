"""What every Signer does."""

from datetime import UTC, datetime

import pytest

from functions.cvmfs.address import HashAlgorithm
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.errors import SignatureError
from functions.cvmfs.manifest import Manifest
from functions.cvmfs.signing import load_public_key, verify_manifest_signature, verify_whitelist_signature
from functions.cvmfs.whitelist import Whitelist

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FQRN = "einstein.infn.it"

HASH_STRINGS = [
    pytest.param(HashAlgorithm.SHA1.digest(b"letter"), id="sha1"),
    pytest.param(HashAlgorithm.RMD160.digest(b"letter"), id="rmd160"),
    pytest.param(HashAlgorithm.SHAKE128.digest(b"letter"), id="shake128"),
]


class SignerContract:
    """Subclasses give `keys`, the PublicKeys of a repository, and `signer`, its signer."""

    @pytest.mark.parametrize("digest", HASH_STRINGS)
    def test_a_manifest_signature_verifies_with_the_certificate(self, signer, keys, digest):
        signature = signer.sign_manifest(str(digest).encode())
        verify_manifest_signature(Certificate.from_pem(keys.certificate.encode()), str(digest).encode(), signature)

    @pytest.mark.parametrize("digest", HASH_STRINGS)
    def test_a_whitelist_signature_is_the_bare_padded_hash_string(self, signer, keys, digest):
        signature = signer.sign_whitelist(str(digest).encode())
        verify_whitelist_signature([keys.public_key], str(digest).encode(), signature)
        numbers = load_public_key(keys.public_key).public_numbers()
        block = pow(int.from_bytes(signature), numbers.e, numbers.n).to_bytes(256)
        assert block == b"\x00\x01" + b"\xff" * (253 - len(str(digest))) + b"\x00" + str(digest).encode()

    def test_the_two_signatures_are_made_by_two_keys(self, signer, keys):
        certificate = Certificate.from_pem(keys.certificate.encode())
        with pytest.raises(SignatureError):
            verify_manifest_signature(certificate, b"a" * 40, signer.sign_whitelist(b"a" * 40))
        with pytest.raises(SignatureError):
            verify_whitelist_signature([keys.public_key], b"a" * 40, signer.sign_manifest(b"a" * 40))

    def test_signing_twice_gives_the_same_bytes(self, signer):
        assert signer.sign_manifest(b"b" * 40) == signer.sign_manifest(b"b" * 40)
        assert signer.sign_whitelist(b"b" * 40) == signer.sign_whitelist(b"b" * 40)

    def test_whole_files_signed_by_it_verify(self, signer, keys):
        certificate = Certificate.from_pem(keys.certificate.encode())
        fingerprint = certificate.fingerprint(HashAlgorithm.SHA1)
        whitelist = Whitelist.make(FQRN, (fingerprint,), now=NOW).sign(signer, HashAlgorithm.SHA1)
        assert whitelist.verify([keys.public_key], fqrn=FQRN, now=NOW).fingerprints == (fingerprint,)
        manifest = Manifest(
            root=HashAlgorithm.SHA1.digest(b"root"),
            root_size=1,
            ttl=240,
            revision=7,
            garbage_collectable=True,
            alternative_path=False,
            fqrn=FQRN,
            certificate=None,
            history=None,
            published_at=int(NOW.timestamp()),
            metainfo=None,
            reflog=None,
            unknown=(),
        )
        assert manifest.sign(signer).verify(certificate) == manifest
