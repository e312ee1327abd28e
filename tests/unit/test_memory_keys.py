"""The key store in memory keeps the contract of Vault."""

import pytest

from functions.adapters.memory import MemoryKeyStore
from tests.contracts.key_store import PERSONAL, KeyStoreContract
from tests.contracts.signer import FQRN, SignerContract


class TestMemoryKeyStore(KeyStoreContract):
    @pytest.fixture
    def store(self):
        return MemoryKeyStore()

    @pytest.fixture
    def same_store(self, store):
        return store

    @pytest.fixture
    def broken_store(self):
        store = MemoryKeyStore()
        store.available = False
        return store

    def test_the_gateway_key_has_the_form_of_a_key_file(self, store):
        store.ensure_keys(FQRN, **PERSONAL)
        kind, name, secret = store.gateway_keys[FQRN].split(" ")
        assert (kind, name) == ("plain_text", "keygweinstein")
        assert len(secret) == 64


class TestSignerInMemory(SignerContract):
    @pytest.fixture
    def store(self):
        return MemoryKeyStore()

    @pytest.fixture
    def keys(self, store):
        return store.ensure_keys(FQRN, **PERSONAL)

    @pytest.fixture
    def signer(self, store, keys):
        return store.signer(FQRN)
