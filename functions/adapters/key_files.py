"""Repository keys in a folder, in the files ``cvmfs_server`` keeps them in.

================  ===================================================  ====
file              content                                              mode
================  ===================================================  ====
FQRN.masterkey    signs whitelists; may be kept elsewhere              0400
FQRN.pub          its public half, what clients are configured with    0444
FQRN.key          signs manifests                                      0400
FQRN.crt          its certificate                                      0444
FQRN.gw           ``plain_text ID SECRET`` for the repository gateway  0400
================  ===================================================  ====

While the signing key is replaced, the new one and its certificate are called ``FQRN.key.next`` and ``FQRN.crt.next``;
what they replaced stays as ``FQRN.key.old`` and ``FQRN.crt.old``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from functions.cvmfs.certificate import Certificate, make_certificate
from functions.cvmfs.errors import SignatureError
from functions.cvmfs.signing import KeySigner, load_private_key, new_key, public_pem
from functions.errors import KeyFilesRefused
from functions.ports import PublicKeys

Loaded = TypeVar("Loaded")

_SECRET = 0o400
_PUBLIC = 0o444


class FileSigner:
    """The Signer of key files, which are read when they are needed: publishing needs no master key."""

    def __init__(self, folder: Path, fqrn: str) -> None:
        self._folder = folder
        self._fqrn = fqrn

    def __repr__(self) -> str:
        return f"FileSigner({str(self._folder)!r}, {self._fqrn!r})"

    def sign_manifest(self, hash_string: bytes) -> bytes:
        """A signature by FQRN.key; raises KeyFilesRefused."""
        return self._signing.sign_manifest(hash_string)

    def sign_whitelist(self, hash_string: bytes) -> bytes:
        """A signature by FQRN.masterkey; raises KeyFilesRefused."""
        return self._master.sign_whitelist(hash_string)

    @property
    def public_key(self) -> RSAPublicKey:
        """The public half of FQRN.key."""
        return self._signing.signing_public_key

    @cached_property
    def _signing(self) -> KeySigner:
        return _loaded(self._folder / f"{self._fqrn}.key", KeySigner)

    @cached_property
    def _master(self) -> KeySigner:
        return _loaded(self._folder / f"{self._fqrn}.masterkey", lambda pem: KeySigner(pem, pem))


@dataclass(frozen=True, slots=True)
class KeyReplacement:
    """A certificate that is to follow the present one, and the signer with its key, without a master key."""

    certificate: Certificate
    signer: KeySigner


class KeyFiles:
    """The keys in a folder, which is made when they are. Raises KeyFilesRefused."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)

    def ensure_keys(self, fqrn: str, *, now: datetime) -> PublicKeys:
        """Make the files that are missing, or return what is there; repeating, also at once, ends with one set."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise _refused(self._folder, err) from err
        master = self._private(fqrn, "masterkey", "pub")
        public = self._ensure(fqrn, "pub", _PUBLIC, lambda: public_pem(master.public_key()))
        signing = self._private(fqrn, "key", "crt")
        certificate = self._ensure(
            fqrn, "crt", _PUBLIC, lambda: make_certificate(fqrn, signing, now=now, serial=secrets.randbits(63) + 1)
        )
        gateway_line = f"plain_text keygw{fqrn.partition('.')[0]} {secrets.token_hex(32)}\n"
        self._ensure(fqrn, "gw", _SECRET, gateway_line.encode)
        return PublicKeys(public.decode("ascii"), certificate.decode("ascii"))

    def public_keys(self, fqrn: str) -> PublicKeys:
        """What is there already: the public master key and the certificate."""
        public, certificate = (_read(self._folder / f"{fqrn}.{suffix}") for suffix in ("pub", "crt"))
        try:
            return PublicKeys(public.decode("ascii"), certificate.decode("ascii"))
        except UnicodeDecodeError as err:
            raise KeyFilesRefused(f"{self._folder}: the keys of {fqrn} are not in PEM form.") from err

    def draft_replacement(self, fqrn: str, *, same_key: bool, now: datetime) -> KeyReplacement:
        """A certificate to follow the present one, for a new signing key or for the `same_key`.

        It is kept beside the present one until `adopt_replacement`, so a replacement that broke off goes on with it.
        """
        key, certificate = self._folder / f"{fqrn}.key.next", self._folder / f"{fqrn}.crt.next"
        if not same_key and not certificate.exists():
            self._ensure(fqrn, "key.next", _SECRET, lambda: new_key().private_pem)
        signing = _loaded(key if key.exists() else self._folder / f"{fqrn}.key", KeySigner)
        private = _loaded(key if key.exists() else self._folder / f"{fqrn}.key", load_private_key)
        pem = self._ensure(
            fqrn, "crt.next", _PUBLIC, lambda: make_certificate(fqrn, private, now=now, serial=secrets.randbits(63) + 1)
        )
        try:
            parsed = Certificate.from_pem(pem)
        except SignatureError as err:
            raise KeyFilesRefused(f"{certificate}: {err}.") from err
        if parsed.public_key != signing.signing_public_key:
            raise KeyFilesRefused(f"{certificate} is not the certificate of the signing key beside it.")
        return KeyReplacement(parsed, signing)

    def adopt_replacement(self, fqrn: str) -> None:
        """Make the drafted key and certificate the present ones; repeating is fine."""
        for suffix in ("key", "crt"):
            present, following = (self._folder / f"{fqrn}.{suffix}{part}" for part in ("", ".next"))
            try:
                if following.exists():
                    if present.exists():
                        present.replace(self._folder / f"{fqrn}.{suffix}.old")
                    following.replace(present)
            except OSError as err:
                raise _refused(present, err) from err

    def signer(self, fqrn: str) -> FileSigner:
        """The signer of this repository; its files are read when they are first needed."""
        return FileSigner(self._folder, fqrn)

    def _private(self, fqrn: str, suffix: str, public_suffix: str) -> RSAPrivateKey:
        """A private key, made only where its public half is absent too: a new one would not belong to that."""
        file, public = (self._folder / f"{fqrn}.{name}" for name in (suffix, public_suffix))
        if public.exists() and not file.exists():
            raise KeyFilesRefused(f"{public} is there, but {file.name} is not.")
        self._ensure(fqrn, suffix, _SECRET, lambda: new_key().private_pem)
        return _loaded(file, load_private_key)

    def _ensure(self, fqrn: str, suffix: str, mode: int, make: Callable[[], bytes]) -> bytes:
        """The bytes of a file; if it is absent they are made, and of several makers one wins."""
        file = self._folder / f"{fqrn}.{suffix}"
        try:
            if not file.exists():
                draft = self._folder / f".{file.name}.{secrets.token_hex(8)}"
                try:
                    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as output:  # noqa: PTH123
                        output.write(make())
                        output.flush()
                        os.fsync(output.fileno())
                    draft.chmod(mode)
                    file.hardlink_to(draft)
                except FileExistsError:
                    pass
                finally:
                    draft.unlink(missing_ok=True)
            return _read(file)
        except OSError as err:
            raise _refused(file, err) from err


def _loaded(file: Path, load: Callable[[bytes], Loaded]) -> Loaded:
    """What `load` makes of a private key's file; raises KeyFilesRefused."""
    try:
        return load(_read(file))
    except SignatureError as err:
        raise KeyFilesRefused(f"{file}: {err}.") from None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as err:
        raise KeyFilesRefused(f"There is no key file {file}.") from err
    except OSError as err:
        raise _refused(file, err) from err


def _refused(file: Path, err: OSError) -> KeyFilesRefused:
    return KeyFilesRefused(f"{file}: {err.strerror}.")
