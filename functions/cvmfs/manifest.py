"""The manifest ``.cvmfspublished``: the one mutable file of a repository, which names everything else by hash.

A signed manifest is a type of its own: the bytes that were received, which are what is verified. The way from it to a
`Manifest` one may trust is `SignedManifest.verify`. Source: ``manifest.cc: ExportString, Load``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from functions.cvmfs.address import Digest
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.entry import decode_text, encode_text
from functions.cvmfs.errors import AddressError, ManifestError
from functions.cvmfs.signing import (
    REPOSITORY_NAME,
    SignedParts,
    Signer,
    join_signed,
    split_signed,
    verify_manifest_signature,
)

ROOT_PATH_HASH = "d41d8cd98f00b204e9800998ecf8427e"
"""Field R: the MD5 of the root's path, the empty string; clients reject anything else."""

NUMBER_LIMIT = 1 << 64
"""Numbers are unsigned and have 64 bits."""

_REQUIRED = "CRDSN"
_KNOWN = frozenset("CBRDSGANXHTMY")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a revision of a repository is.

    `root` is the root catalog and `root_size` the size of its database in bytes; `ttl` is in seconds; `published_at` in
    seconds since the epoch. `unknown` has the fields of newer writers, as pairs of letter and value.
    """

    root: Digest
    root_size: int
    ttl: int
    revision: int
    garbage_collectable: bool
    alternative_path: bool = False
    fqrn: str
    certificate: Digest | None
    history: Digest | None = None
    published_at: int
    metainfo: Digest | None = None
    reflog: Digest | None = None
    unknown: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        for letter, number in (
            ("B", self.root_size),
            ("D", self.ttl),
            ("S", self.revision),
            ("T", self.published_at),
        ):
            if not 0 <= number < NUMBER_LIMIT:
                raise ManifestError(f"field {letter} cannot hold {number}")
        if not REPOSITORY_NAME.fullmatch(self.fqrn):
            raise ManifestError(f"field N cannot hold the repository name {self.fqrn!r}")
        for letter, value in self.unknown:
            if len(letter) != 1 or letter in _KNOWN or "\n" in letter + value or letter + value == "--":
                raise ManifestError(f"{letter + value!r} is not a line for an unknown field")

    def body(self) -> bytes:
        """The field lines, in the order the official tools write them, which is what gets signed."""
        fields = [
            ("C", str(self.root)),
            ("B", str(self.root_size)),
            ("R", ROOT_PATH_HASH),
            ("D", str(self.ttl)),
            ("S", str(self.revision)),
            ("G", _yes_or_no(self.garbage_collectable)),
            ("A", _yes_or_no(self.alternative_path)),
            ("N", self.fqrn),
            ("X", _optional(self.certificate)),
            ("H", _optional(self.history)),
            ("T", str(self.published_at)),
            ("M", _optional(self.metainfo)),
            ("Y", _optional(self.reflog)),
        ]
        lines = [f"{letter}{value}\n" for letter, value in fields if value]
        lines += [f"{letter}{value}\n" for letter, value in self.unknown]
        return encode_text("".join(lines))

    @classmethod
    def parse(cls, body: bytes) -> Manifest:
        """Read field lines; raises ManifestError.

        The order does not matter, of a repeated field the last one counts, everything after a ``--`` line is ignored,
        unknown fields are carried. C, R, D, S and N must be there.
        """
        fields: dict[str, str] = {}
        unknown: list[tuple[str, str]] = []
        for line in decode_text(body).split("\n"):
            if line == "--":
                break
            letter, value = line[:1], line[1:]
            if letter in _KNOWN:
                fields[letter] = value
            elif letter:
                unknown.append((letter, value))
        missing = [letter for letter in _REQUIRED if letter not in fields]
        if missing:
            raise ManifestError(f"the manifest has no field {', '.join(missing)}")
        if fields["R"] != ROOT_PATH_HASH:
            raise ManifestError(f"field R is {fields['R']!r}, clients accept {ROOT_PATH_HASH} only")
        return cls(
            root=_digest("C", fields["C"]),
            root_size=_number("B", fields.get("B", "0")),
            ttl=_number("D", fields["D"]),
            revision=_number("S", fields["S"]),
            garbage_collectable=fields.get("G") == "yes",
            alternative_path=fields.get("A") == "yes",
            fqrn=fields["N"],
            certificate=_optional_field(fields, "X", _digest),
            history=_optional_field(fields, "H", _digest),
            published_at=_number("T", fields.get("T", "0")),
            metainfo=_optional_field(fields, "M", _digest),
            reflog=_optional_field(fields, "Y", _digest),
            unknown=tuple(unknown),
        )

    def sign(self, signer: Signer) -> SignedManifest:
        """Sign the manifest; its hash line uses the algorithm of the root catalog."""
        body = self.body()
        hash_string = str(self.root.algorithm.digest(body)).encode()
        return SignedManifest(body, hash_string, signer.sign_manifest(hash_string))


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest as it is stored: the signed text, its hash string, and the signature."""

    body: bytes
    hash_string: bytes
    signature: bytes

    @classmethod
    def from_bytes(cls, blob: bytes) -> SignedManifest:
        """Take ``.cvmfspublished`` apart; raises SignatureError if the hash line does not match the text."""
        return cls(*split_signed(blob))

    def to_bytes(self) -> bytes:
        """The bytes of ``.cvmfspublished``."""
        return join_signed(SignedParts(self.body, self.hash_string, self.signature))

    @property
    def unverified(self) -> Manifest:
        """The manifest, whoever signed it; raises ManifestError."""
        return Manifest.parse(self.body)

    def verify(self, certificate: Certificate) -> Manifest:
        """The manifest, if the key of `certificate` signed it; raises SignatureError or ManifestError.

        The certificate itself must come from the whitelist: see `Whitelist.admits`.
        """
        verify_manifest_signature(certificate, self.hash_string, self.signature)
        return self.unverified


def _yes_or_no(value: bool) -> str:
    return "yes" if value else "no"


def _optional(digest: Digest | None) -> str:
    return "" if digest is None else str(digest)


def _optional_field(fields: dict[str, str], letter: str, read: Callable[[str, str], Digest]) -> Digest | None:
    value = fields.get(letter, "")
    return read(letter, value) if value else None


def _digest(letter: str, value: str) -> Digest:
    try:
        return Digest.parse(value)
    except AddressError as err:
        raise ManifestError(f"field {letter}: {err}") from err


def _number(letter: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= 20):
        raise ManifestError(f"field {letter} is {value!r}, expected a decimal number")
    return int(value)
