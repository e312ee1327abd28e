"""What every KeyStore does."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from functions.cvmfs.certificate import Certificate
from functions.cvmfs.signing import load_public_key, verify_manifest_signature, verify_whitelist_signature
from functions.errors import KeysUnavailable, RepositoryUnknown
from tests.contracts.signer import FQRN, NOW

PERSONAL = {"subject": "a1b2-c3d4", "group": None, "now": NOW}
GROUP = {"subject": "a1b2-c3d4", "group": "einstein", "now": NOW}


class KeyStoreContract:
    """Subclasses give `store` (with no keys yet), `same_store`, another instance on the same vault, `broken_store`."""

    def test_a_repository_gets_a_public_key_and_a_certificate(self, store):
        keys = store.ensure_keys(FQRN, **PERSONAL)
        assert load_public_key(keys.public_key).key_size == 2048
        certificate = Certificate.from_pem(keys.certificate.encode())
        assert certificate.public_key.key_size == 2048
        assert certificate.public_key != load_public_key(keys.public_key)

    def test_the_certificate_is_signed_by_its_own_key(self, store):
        from cryptography import x509

        certificate = x509.load_pem_x509_certificate(store.ensure_keys(FQRN, **PERSONAL).certificate.encode())
        certificate.verify_directly_issued_by(certificate)
        assert certificate.not_valid_before_utc <= NOW <= certificate.not_valid_after_utc

    @pytest.mark.parametrize("owner", [PERSONAL, GROUP], ids=["personal", "group"])
    def test_asking_again_returns_the_same_keys(self, store, same_store, owner):
        first = store.ensure_keys(FQRN, **owner)
        assert store.ensure_keys(FQRN, **owner) == first
        assert same_store.ensure_keys(FQRN, **{**owner, "now": NOW + timedelta(days=400)}) == first

    def test_every_repository_has_keys_of_its_own(self, store):
        one, two = (store.ensure_keys(name, **PERSONAL) for name in ("one.infn.it", "two.infn.it"))
        assert one.public_key != two.public_key
        assert one.certificate != two.certificate

    def test_of_many_callers_at_once_all_get_one_set(self, store, same_store):
        start = threading.Barrier(6)

        def ensure(number):
            start.wait()
            return (store, same_store)[number % 2].ensure_keys(FQRN, **PERSONAL)

        with ThreadPoolExecutor(6) as pool:
            assert len(set(pool.map(ensure, range(6)))) == 1
        keys = store.ensure_keys(FQRN, **PERSONAL)
        signature = store.signer(FQRN).sign_manifest(b"a" * 40)
        verify_manifest_signature(Certificate.from_pem(keys.certificate.encode()), b"a" * 40, signature)
        verify_whitelist_signature([keys.public_key], b"a" * 40, same_store.signer(FQRN).sign_whitelist(b"a" * 40))

    def test_a_repository_without_keys_cannot_be_signed_for(self, store):
        with pytest.raises(RepositoryUnknown):
            store.signer("nobody.infn.it").sign_manifest(b"a" * 40)
        with pytest.raises(RepositoryUnknown):
            store.signer("nobody.infn.it").sign_whitelist(b"a" * 40)

    @pytest.mark.parametrize("owner", [PERSONAL, GROUP], ids=["personal", "group"])
    def test_destroyed_keys_sign_nothing_and_never_come_back(self, store, same_store, owner):
        first = store.ensure_keys(FQRN, **owner)
        other = store.ensure_keys("other.infn.it", **PERSONAL)
        for _ in range(2):
            store.destroy_keys(FQRN, subject=owner["subject"], group=owner["group"])
        with pytest.raises(RepositoryUnknown):
            same_store.signer(FQRN).sign_manifest(b"a" * 40)
        with pytest.raises(RepositoryUnknown):
            same_store.signer(FQRN).sign_whitelist(b"a" * 40)
        assert store.ensure_keys("other.infn.it", **PERSONAL) == other
        again = same_store.ensure_keys(FQRN, **owner)
        assert again.public_key != first.public_key
        assert again.certificate != first.certificate
        signature = store.signer(FQRN).sign_manifest(b"a" * 40)
        verify_manifest_signature(Certificate.from_pem(again.certificate.encode()), b"a" * 40, signature)

    def test_keys_that_never_were_can_be_destroyed(self, store):
        store.destroy_keys("nobody.infn.it", subject="a1b2-c3d4", group=None)

    def test_a_vault_that_does_not_answer_says_so(self, broken_store):
        with pytest.raises(KeysUnavailable):
            broken_store.ensure_keys(FQRN, **PERSONAL)
        with pytest.raises(KeysUnavailable):
            broken_store.signer(FQRN).sign_manifest(b"a" * 40)
        with pytest.raises(KeysUnavailable):
            broken_store.destroy_keys(FQRN, subject="a1b2-c3d4", group=None)
