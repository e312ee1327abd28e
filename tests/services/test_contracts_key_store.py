"""Vault keeps the contract of key stores, with the rights that each function really has."""

import itertools
from dataclasses import replace
from urllib.parse import urlsplit

import hvac
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from pydantic import SecretStr

from functions.adapters.vault import TransitKey, VaultKeyStore, entry_path
from functions.adapters.vault_client import VaultClient, VaultLogin
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.signing import load_public_key
from functions.errors import KeysUnavailable, RepositoryRefused, RepositoryUnknown
from tests.contracts.key_store import GROUP, PERSONAL, KeyStoreContract
from tests.contracts.signer import FQRN, NOW, SignerContract
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.services

_numbers = itertools.count(1)


class Vault:
    """One server, seen by its administrator; a KV and a transit mount of its own for each test."""

    def __init__(self, server):
        self.server = server
        self.address = server.endpoints.address
        self.root = hvac.Client(url=self.address, token=server.endpoints.root_token.get_secret_value())
        number = next(_numbers)
        self.kv, self.transit = f"secrets-{number}", f"transit-{number}"
        for path, kind, options in ((self.kv, "kv", {"version": "2"}), (self.transit, "transit", None)):
            self.root.sys.enable_secrets_engine(kind, path=path, options=options)
        rights = '{ capabilities = ["create", "read", "update"] }'
        removal = f'path "{self.kv}/metadata/*" {{ capabilities = ["delete"] }}'
        all_rights = rights.replace("]", ', "delete"]')
        policy = f'path "{self.kv}/data/*" {rights}\n{removal}\npath "{self.transit}/*" {all_rights}'
        self.role = f"role-{number}"
        self.root.sys.create_or_update_policy(self.role, policy)
        self.root.auth.approle.create_or_update_approle(self.role, token_policies=[self.role])
        self._wait_for_the_mount()

    def _wait_for_the_mount(self):
        for _ in range(200):
            try:
                self.root.secrets.kv.v2.create_or_update_secret("ready", {"a": "b"}, mount_point=self.kv)
            except hvac.exceptions.InvalidRequest:
                continue
            return
        raise AssertionError("the KV engine does not come up")

    def login(self):
        approle = self.root.auth.approle
        return VaultLogin(
            address=self.address,
            role_id=approle.read_role_id(self.role)["data"]["role_id"],
            secret_id=SecretStr(approle.generate_secret_id(self.role)["data"]["secret_id"]),
        )

    def store(self, login=None):
        return VaultKeyStore(login or self.login(), domain="infn.it", kv_mount=self.kv, transit_mount=self.transit)

    def entry(self, path):
        kv = self.root.secrets.kv.v2
        return kv.read_secret_version(path, mount_point=self.kv, raise_on_deleted_version=True)["data"]

    def close(self):
        self.root.sys.disable_secrets_engine(self.kv)
        self.root.sys.disable_secrets_engine(self.transit)
        self.root.adapter.close()


@pytest.fixture
def vault(servers):
    vault = Vault(servers.vault)
    yield vault
    vault.close()


@pytest.fixture
def store(vault):
    return vault.store()


class TestVaultKeyStore(KeyStoreContract):
    @pytest.fixture
    def same_store(self, vault):
        return vault.store()

    @pytest.fixture
    def broken_store(self):
        login = VaultLogin(address="http://127.0.0.1:9", role_id="r", secret_id=SecretStr("s"))
        return VaultKeyStore(login, domain="infn.it")

    @pytest.mark.parametrize(
        ("owner", "path"),
        [(PERSONAL, f"a1b2-c3d4/cvmfs_keys/{FQRN}"), (GROUP, f"groups/einstein/cvmfs_keys/{FQRN}")],
        ids=["personal", "group"],
    )
    def test_the_entry_has_the_fields_and_the_place_that_publishers_know(self, vault, store, owner, path):
        keys = store.ensure_keys(FQRN, **owner)
        stored = vault.entry(path)
        assert stored["metadata"]["version"] == 1
        assert set(stored["data"]) == {"publicKey", "certificateKey", "gatewayKey"}
        assert stored["data"]["publicKey"] == keys.public_key
        assert stored["data"]["certificateKey"] == keys.certificate
        kind, name, secret = stored["data"]["gatewayKey"].split(" ")
        assert (kind, name) == ("plain_text", "keygweinstein")
        assert len(secret) == 64

    def test_asking_again_writes_nothing(self, vault, store):
        for _ in range(3):
            store.ensure_keys(FQRN, **PERSONAL)
        assert vault.entry(f"a1b2-c3d4/cvmfs_keys/{FQRN}")["metadata"]["version"] == 1

    def test_private_keys_cannot_be_exported(self, vault, store):
        store.ensure_keys(FQRN, **PERSONAL)
        for name in (f"{FQRN}-master", f"{FQRN}-signing"):
            key = vault.root.secrets.transit.read_key(name, mount_point=vault.transit)["data"]
            assert (key["type"], key["exportable"], key["allow_plaintext_backup"]) == ("rsa-2048", False, False)

    @pytest.mark.parametrize("made", [["master"], ["master", "signing"]], ids=" and ".join)
    def test_a_crash_half_way_is_completed_with_the_keys_that_exist(self, vault, store, made):
        transit = vault.root.secrets.transit
        for role in made:
            transit.create_key(f"{FQRN}-{role}", key_type="rsa-2048", mount_point=vault.transit)
        keys = store.ensure_keys(FQRN, **PERSONAL)
        read = {
            role: transit.read_key(f"{FQRN}-{role}", mount_point=vault.transit)["data"]["keys"]
            for role in ("master", "signing")
        }
        assert {role: list(versions) for role, versions in read.items()} == {"master": ["1"], "signing": ["1"]}
        assert load_public_key(keys.public_key) == load_public_key(read["master"]["1"]["public_key"])
        certificate = Certificate.from_pem(keys.certificate.encode())
        assert certificate.public_key == load_public_key(read["signing"]["1"]["public_key"])

    def test_an_expired_token_is_replaced_without_anybody_noticing(self, vault, store):
        keys = store.ensure_keys(FQRN, **PERSONAL)
        signer = store.signer(FQRN)
        before = signer.sign_manifest(b"a" * 40)
        vault.root.auth.token.revoke(store._vault._client.token)
        assert signer.sign_manifest(b"a" * 40) == before
        vault.root.auth.token.revoke(store._vault._client.token)
        assert store.ensure_keys(FQRN, **PERSONAL) == keys

    def test_a_refused_login_is_unavailable_and_not_shown(self, vault):
        store = vault.store(replace(vault.login(), secret_id=SecretStr("hush-hush")))
        with pytest.raises(KeysUnavailable, match="login") as caught:
            store.ensure_keys(FQRN, **PERSONAL)
        assert "hush" not in str(caught.value)

    def test_a_role_without_the_right_is_unavailable(self, vault):
        vault.root.sys.create_or_update_policy(vault.role, 'path "nothing" { capabilities = ["read"] }')
        with pytest.raises(KeysUnavailable, match="Forbidden"):
            vault.store().ensure_keys(FQRN, **PERSONAL)

    def test_an_engine_that_is_not_mounted_is_unavailable(self, vault):
        vault.root.sys.create_or_update_policy(
            vault.role, 'path "nowhere/*" { capabilities = ["create", "read", "update"] }'
        )
        store = VaultKeyStore(vault.login(), domain="infn.it", kv_mount="nowhere", transit_mount=vault.transit)
        with pytest.raises(KeysUnavailable):
            store.ensure_keys(FQRN, **PERSONAL)

    def test_a_deleted_entry_is_not_silently_made_anew(self, vault, store):
        store.ensure_keys(FQRN, **PERSONAL)
        vault.root.secrets.kv.v2.delete_latest_version_of_secret(f"a1b2-c3d4/cvmfs_keys/{FQRN}", mount_point=vault.kv)
        with pytest.raises(KeysUnavailable, match="undelete"):
            store.ensure_keys(FQRN, **PERSONAL)

    def test_an_entry_that_lacks_a_field_is_not_used(self, vault, store):
        vault.root.secrets.kv.v2.create_or_update_secret(
            f"a1b2-c3d4/cvmfs_keys/{FQRN}", {"publicKey": "x"}, mount_point=vault.kv
        )
        with pytest.raises(KeysUnavailable, match="certificateKey, gatewayKey"):
            store.ensure_keys(FQRN, **PERSONAL)

    def test_a_connection_that_breaks_is_unavailable_and_works_again_later(self, vault):
        target = urlsplit(vault.address)
        with TcpProxy((target.hostname, target.port)) as proxy:
            store = vault.store(replace(vault.login(), address=f"http://127.0.0.1:{proxy.port}"))
            keys = store.ensure_keys(FQRN, **PERSONAL)
            proxy.refusing = True
            proxy.cut()
            with pytest.raises(KeysUnavailable):
                store.ensure_keys(FQRN, **PERSONAL)
            proxy.refusing = False
            assert store.ensure_keys(FQRN, **PERSONAL) == keys

    def test_the_private_half_of_a_key_in_vault_cannot_be_had(self, vault, store):
        keys = store.ensure_keys(FQRN, **PERSONAL)
        key = TransitKey(VaultClient(vault.login()), vault.transit, f"{FQRN}-master", keys.public_key)
        with pytest.raises(UnsupportedAlgorithm):
            key.private_numbers()


class TestTransitSigner(SignerContract):
    @pytest.fixture
    def keys(self, store):
        return store.ensure_keys(FQRN, **PERSONAL)

    @pytest.fixture
    def signer(self, store, keys):
        return store.signer(FQRN)


class TestTheRolesOfTheFunctions:
    """The policies of the installation are enough, and not more than enough."""

    @pytest.fixture
    def store_of(self, servers):
        def make(function):
            role_id, secret_id = servers.vault.approle(function)
            login = VaultLogin(address=servers.vault.endpoints.address, role_id=role_id, secret_id=secret_id)
            return VaultKeyStore(login, domain="infn.it")

        return make

    def test_keys_are_made_by_one_function_and_used_by_the_others(self, store_of):
        keys = store_of("store-keys").ensure_keys("roles.infn.it", subject="sub", group=None, now=NOW)
        assert store_of("create-repository").signer("roles.infn.it").sign_whitelist(b"a" * 40)
        assert store_of("publish-transaction").signer("roles.infn.it").sign_manifest(b"a" * 40)
        assert keys.certificate.startswith("-----BEGIN CERTIFICATE-----")

    def test_a_publisher_can_neither_make_keys_nor_sign_whitelists(self, store_of):
        store_of("store-keys").ensure_keys("roles.infn.it", subject="sub", group=None, now=NOW)
        publisher = store_of("publish-transaction")
        with pytest.raises(KeysUnavailable, match="Forbidden"):
            publisher.ensure_keys("other.infn.it", subject="sub", group=None, now=NOW)
        with pytest.raises(KeysUnavailable, match="Forbidden"):
            publisher.signer("roles.infn.it").sign_whitelist(b"a" * 40)

    @pytest.mark.parametrize("function", ["edit-repository", "collect-garbage"])
    def test_who_edits_or_collects_signs_manifests_and_nothing_else(self, store_of, function):
        store_of("store-keys").ensure_keys("roles.infn.it", subject="sub", group=None, now=NOW)
        store = store_of(function)
        assert store.signer("roles.infn.it").sign_manifest(b"a" * 40)
        for attempt in (
            lambda: store.signer("roles.infn.it").sign_whitelist(b"a" * 40),
            lambda: store.ensure_keys("roles.infn.it", subject="sub", group=None, now=NOW),
            lambda: store.destroy_keys("roles.infn.it", subject="sub", group=None),
        ):
            with pytest.raises(KeysUnavailable, match="Forbidden"):
                attempt()

    @pytest.mark.parametrize("group", [None, "roles"])
    def test_who_signs_whitelists_again_reads_certificates_and_signs_no_manifest(self, store_of, group):
        made = store_of("store-keys").ensure_keys(f"again-{group}.infn.it", subject="sub", group=group, now=NOW)
        store = store_of("resign-whitelist")
        assert store.ensure_keys(f"again-{group}.infn.it", subject="sub", group=group, now=NOW) == made
        assert store.signer(f"again-{group}.infn.it").sign_whitelist(b"a" * 40)
        for attempt in (
            lambda: store.signer(f"again-{group}.infn.it").sign_manifest(b"a" * 40),
            lambda: store.ensure_keys("new.infn.it", subject="sub", group=None, now=NOW),
            lambda: store.destroy_keys(f"again-{group}.infn.it", subject="sub", group=group),
        ):
            with pytest.raises(KeysUnavailable, match="Forbidden"):
                attempt()

    @pytest.mark.parametrize("group", [None, "roles"])
    def test_only_who_deletes_destroys_keys_and_signs_nothing(self, store_of, group):
        fqrn = f"gone-{group}.infn.it"
        store_of("store-keys").ensure_keys(fqrn, subject="sub", group=group, now=NOW)
        store = store_of("delete-repository")
        for sign in (store.signer(fqrn).sign_manifest, store.signer(fqrn).sign_whitelist):
            with pytest.raises(KeysUnavailable, match="Forbidden"):
                sign(b"a" * 40)
        with pytest.raises(KeysUnavailable, match="Forbidden"):
            store.ensure_keys(fqrn, subject="sub", group=group, now=NOW)
        for function in ("store-keys", "create-repository", "publish-transaction", "handle-bucket-notification"):
            with pytest.raises(KeysUnavailable, match="Forbidden"):
                store_of(function).destroy_keys(fqrn, subject="sub", group=group)
        store.destroy_keys(fqrn, subject="sub", group=group)
        with pytest.raises(RepositoryUnknown):
            store_of("publish-transaction").signer(fqrn).sign_manifest(b"a" * 40)


@pytest.mark.parametrize("name", ["", "a/b", "../x", ".", "a b", "a\n", "groups/x", "a%2fb", "a?b"], ids=repr)
def test_a_name_that_would_leave_its_place_in_vault_is_refused(name):
    for arguments in (
        {"fqrn": FQRN, "subject": name, "group": None},
        {"fqrn": FQRN, "subject": "sub", "group": name},
        {"fqrn": name, "subject": "sub", "group": None},
    ):
        with pytest.raises(RepositoryRefused):
            entry_path(**arguments)
