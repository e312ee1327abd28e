"""The key store on Vault: private keys made and used in the transit engine, what may leave it in KV version 2."""

from __future__ import annotations

import base64
import re
import secrets
from datetime import datetime
from typing import Any, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding as asymmetric_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo, Prehashed

from events.names import SUBJECT_PATTERN
from functions.adapters.vault_client import VaultClient, VaultLogin, VaultRefused
from functions.cvmfs.certificate import make_certificate
from functions.cvmfs.signing import load_public_key
from functions.errors import KeysUnavailable, RepositoryRefused, RepositoryUnknown
from functions.ports import PublicKeys

PUBLIC_KEY = "publicKey"
CERTIFICATE = "certificateKey"
GATEWAY_KEY = "gatewayKey"
_FIELDS = (PUBLIC_KEY, CERTIFICATE, GATEWAY_KEY)


class VaultKeyStore:
    """A KeyStore on Vault.

    Per repository: transit keys ``<fqrn>-master`` and ``<fqrn>-signing`` (RSA-2048, never exportable), and one KV entry
    with the fields above, at ``<subject>/cvmfs_keys/<fqrn>`` or ``groups/<group>/cvmfs_keys/<fqrn>``.
    """

    def __init__(
        self, login: VaultLogin, *, domain: str, kv_mount: str = "secrets", transit_mount: str = "transit"
    ) -> None:
        self._vault = VaultClient(login)
        self._domain = domain
        self._kv_mount = kv_mount
        self._transit_mount = transit_mount

    def ensure_keys(self, fqrn: str, *, subject: str, group: str | None, now: datetime) -> PublicKeys:
        """Make the keys, or return those that exist.

        Making a transit key that exists changes nothing, and the entry is written only if there is none (check-and-set
        0), so a repetition after any crash completes the work, and of several callers one decides what is stored.
        """
        path = entry_path(fqrn, subject=subject, group=group)
        stored = self._entry(path)
        if stored is None:
            self._write_entry(path, self._make(fqrn, now))
            stored = self._entry(path)
        if stored is None:
            raise KeysUnavailable(f"the entry {path} was deleted in Vault; undelete it, or destroy its metadata")
        missing = [field for field in _FIELDS if not stored.get(field)]
        if missing:
            raise KeysUnavailable(f"the entry {path} in Vault has no {', '.join(missing)}")
        return PublicKeys(public_key=stored[PUBLIC_KEY], certificate=stored[CERTIFICATE])

    def signer(self, fqrn: str) -> TransitSigner:
        """The signer of this repository; a repository without keys shows when it signs."""
        return TransitSigner(self._vault, self._transit_mount, fqrn)

    def destroy_keys(self, fqrn: str, *, subject: str, group: str | None) -> None:
        """Destroy every version of the entry, then both transit keys; what is gone already is fine.

        The entry goes first: one that outlived its keys would be taken for whole by whoever makes keys again.
        """
        path = entry_path(fqrn, subject=subject, group=group)
        try:
            self._vault.delete(f"{self._kv_mount}/metadata/{path}")
        except VaultRefused as error:
            raise KeysUnavailable(f"Vault does not delete {path}: {error}") from None
        for name in (f"{fqrn}-master", f"{fqrn}-signing"):
            self._destroy_transit_key(name)

    def _destroy_transit_key(self, name: str) -> None:
        """Transit deletes a key only after its configuration allows it, which is asked of a key that exists."""
        path = f"{self._transit_mount}/keys/{name}"
        if self._vault.read(path) is None:
            return
        try:
            self._vault.write(f"{path}/config", {"deletion_allowed": True})
            self._vault.delete(path)
        except VaultRefused as error:
            raise KeysUnavailable(f"Vault does not destroy the key {name}: {error}") from None

    def _make(self, fqrn: str, now: datetime) -> dict[str, str]:
        master = self._transit_key(f"{fqrn}-master")
        signing = TransitKey(self._vault, self._transit_mount, f"{fqrn}-signing", self._transit_key(f"{fqrn}-signing"))
        certificate = make_certificate(fqrn, signing, now=now, serial=secrets.randbits(63) + 1)
        bucket = fqrn.removesuffix(f".{self._domain}")
        return {
            PUBLIC_KEY: master,
            CERTIFICATE: certificate.decode("ascii"),
            GATEWAY_KEY: f"plain_text keygw{bucket} {secrets.token_hex(32)}",
        }

    def _transit_key(self, name: str) -> str:
        """Make an RSA key if there is none; its public half in PEM form."""
        path = f"{self._transit_mount}/keys/{name}"
        try:
            self._vault.write(path, {"type": "rsa-2048", "exportable": False, "allow_plaintext_backup": False})
        except VaultRefused as error:
            raise KeysUnavailable(f"Vault does not make the key {name}: {error}") from None
        answer = self._vault.read(path)
        if answer is None:
            raise KeysUnavailable(f"Vault has just made the key {name} and does not know it")
        versions: dict[str, Any] = answer["data"]["keys"]
        return str(versions[str(answer["data"]["latest_version"])]["public_key"])

    def _entry(self, path: str) -> dict[str, str] | None:
        answer = self._vault.read(f"{self._kv_mount}/data/{path}")
        entry = None if answer is None else answer["data"]["data"]
        return None if entry is None else dict(entry)

    def _write_entry(self, path: str, entry: dict[str, str]) -> None:
        try:
            self._vault.write(f"{self._kv_mount}/data/{path}", {"options": {"cas": 0}, "data": entry})
        except VaultRefused as error:
            if "check-and-set" not in str(error):
                raise KeysUnavailable(f"Vault does not store {path}: {error}") from None


def entry_path(fqrn: str, *, subject: str, group: str | None) -> str:
    """Where the keys of a repository are kept below the KV mount; raises RepositoryRefused for names it cannot take."""
    owner = subject if group is None else group
    for name in (fqrn, owner):
        if re.fullmatch(SUBJECT_PATTERN, name) is None:
            raise RepositoryRefused(f"{name!r} cannot be part of a path in Vault")
    return f"{owner}/cvmfs_keys/{fqrn}" if group is None else f"groups/{owner}/cvmfs_keys/{fqrn}"


class TransitSigner:
    """A Signer whose keys stay in Vault; raises KeysUnavailable, and RepositoryUnknown where there are no keys."""

    def __init__(self, vault: VaultClient, mount: str, fqrn: str) -> None:
        self._vault = vault
        self._mount = mount
        self._fqrn = fqrn

    def sign_manifest(self, hash_string: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-1 over `hash_string`, by the repository's signing key."""
        return _sign(self._vault, self._mount, f"{self._fqrn}-signing", hash_string, "sha1")

    def sign_whitelist(self, hash_string: bytes) -> bytes:
        """PKCS#1 v1.5 type-1 padding of `hash_string` itself, by the master key."""
        return _sign(self._vault, self._mount, f"{self._fqrn}-master", hash_string, "none")


class TransitKey(rsa.RSAPrivateKey):
    """A private key in Vault, as cryptography's certificate builder takes one: it signs, and shows its public half."""

    def __init__(self, vault: VaultClient, mount: str, name: str, public_pem: str) -> None:
        self._vault = vault
        self._mount = mount
        self._name = name
        self._public = load_public_key(public_pem)

    @property
    def key_size(self) -> int:
        """Bits of the modulus."""
        return self._public.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        """The public half."""
        return self._public

    def sign(
        self,
        data: bytes | bytearray | memoryview,
        padding: asymmetric_padding.AsymmetricPadding,
        algorithm: Prehashed | hashes.HashAlgorithm | NoDigestInfo,
    ) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256, which is what certificates are signed with."""
        if not isinstance(padding, asymmetric_padding.PKCS1v15) or not isinstance(algorithm, hashes.SHA256):
            raise UnsupportedAlgorithm("a key in Vault signs certificates with PKCS#1 v1.5 and SHA-256 only")
        return _sign(self._vault, self._mount, self._name, bytes(data), "sha2-256")

    def decrypt(self, ciphertext: bytes, padding: asymmetric_padding.AsymmetricPadding) -> bytes:
        """Not for this key."""
        self._stays(ciphertext, padding)

    def private_numbers(self) -> rsa.RSAPrivateNumbers:
        """Not for this key."""
        self._stays()

    def private_bytes(self, encoding: object, format: object, encryption_algorithm: object) -> bytes:  # noqa: A002
        """Not for this key."""
        self._stays(encoding, format, encryption_algorithm)

    def __copy__(self) -> TransitKey:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> TransitKey:
        return self

    @staticmethod
    def _stays(*_: object) -> NoReturn:
        raise UnsupportedAlgorithm("the private key stays in Vault and only signs")


def _sign(vault: VaultClient, mount: str, key: str, data: bytes, hash_algorithm: str) -> bytes:
    """A PKCS#1 v1.5 signature; with `hash_algorithm` none the bytes are padded as they are, without DigestInfo."""
    request: dict[str, str | bool] = {
        "input": base64.b64encode(data).decode("ascii"),
        "hash_algorithm": hash_algorithm,
        "signature_algorithm": "pkcs1v15",
    }
    if hash_algorithm == "none":
        request["prehashed"] = True
    try:
        answer = vault.write(f"{mount}/sign/{key}", request)
    except VaultRefused as error:
        if "key not found" in str(error):
            raise RepositoryUnknown(f"there is no key {key} in Vault") from None
        raise KeysUnavailable(f"Vault does not sign with {key}: {error}") from None
    return base64.b64decode(answer["data"]["signature"].rpartition(":")[2])
