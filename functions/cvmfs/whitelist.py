"""The whitelist ``.cvmfswhitelist``: which certificates may sign manifests, and until when.

Signed by the master key, so that the signing key can be replaced. Source: ``whitelist.cc: ParseWhitelist``,
``server/cvmfs_server_ssl.sh: create_whitelist``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from functions.cvmfs.address import Digest, HashAlgorithm
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.entry import decode_text, encode_text
from functions.cvmfs.errors import AddressError, SignatureError, WhitelistError, WhitelistExpired
from functions.cvmfs.signing import (
    REPOSITORY_NAME,
    SignedParts,
    Signer,
    join_signed,
    split_signed,
    verify_whitelist_signature,
)

VALID_DAYS = 30
"""How long the official tools let a whitelist live."""

OPTIONS = ("Vpkcs7", "Wcachain")
"""Lines that ask clients for more checks; they count only in this order, directly after the name."""

_TIMESTAMP_DIGITS = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Whitelist:
    """The certificates, by fingerprint, that may sign for a repository.

    `issued` and `expires` are aware, whole seconds. `options` are those of `OPTIONS` that are set; `remarks` are lines
    that readers skip, carried along.
    """

    fqrn: str
    issued: datetime
    expires: datetime
    fingerprints: tuple[Digest, ...]
    options: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.issued.tzinfo is None or self.expires.tzinfo is None:
            raise WhitelistError("the times of a whitelist need a time zone")
        if not REPOSITORY_NAME.fullmatch(self.fqrn):
            raise WhitelistError(f"a whitelist cannot hold the repository name {self.fqrn!r}")
        if not self.fingerprints:
            raise WhitelistError("the whitelist has no fingerprint")
        if self.options != tuple(option for option in OPTIONS if option in self.options):
            raise WhitelistError(f"the options {self.options} are not of {OPTIONS}, in this order")
        for remark in self.remarks:
            if "\n" in remark or remark == "--" or parse_fingerprint(remark) is not None:
                raise WhitelistError(f"{remark!r} is not a line that readers skip")

    @classmethod
    def make(cls, fqrn: str, fingerprints: Iterable[Digest], *, now: datetime, days: int = VALID_DAYS) -> Whitelist:
        """A whitelist issued at `now` (aware) that is valid for `days` days."""
        issued = now.replace(microsecond=0)
        return cls(fqrn=fqrn, issued=issued, expires=issued + timedelta(days=days), fingerprints=tuple(fingerprints))

    @property
    def valid_until(self) -> datetime:
        """The moment it ends: the start of the expiry hour, since minutes and seconds are ignored (UTC)."""
        return self.expires.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

    def admits(self, certificate: Certificate) -> bool:
        """Whether the certificate is listed, by whatever hash algorithm."""
        return any(certificate.fingerprint(listed.algorithm) == listed for listed in self.fingerprints)

    def body(self) -> bytes:
        """The lines that get signed."""
        lines = [
            _timestamp(self.issued),
            f"E{_timestamp(self.expires)}",
            f"N{self.fqrn}",
            *self.options,
            *(render_fingerprint(fingerprint) for fingerprint in self.fingerprints),
            *self.remarks,
        ]
        return encode_text("".join(f"{line}\n" for line in lines))

    @classmethod
    def parse(cls, body: bytes) -> Whitelist:
        """Read the lines before the signature; raises WhitelistError.

        The first three lines are positional. Lines after them that are no fingerprint are kept as remarks.
        """
        lines = decode_text(body).split("\n")
        if len(lines) < 4 or lines.pop():
            raise WhitelistError("the whitelist does not consist of at least three lines")
        issued, expires, name, *rest = lines
        if not expires.startswith("E") or not name.startswith("N"):
            raise WhitelistError("the second line of a whitelist begins with E, the third with N")
        options: tuple[str, ...] = ()
        for option in OPTIONS:
            if rest[:1] == [option]:
                options += (option,)
                rest = rest[1:]
        fingerprints: list[Digest] = []
        remarks: list[str] = []
        for line in rest:
            if line == "--":
                break
            fingerprint = parse_fingerprint(line)
            if fingerprint is None:
                remarks.append(line)
            else:
                fingerprints.append(fingerprint)
        return cls(
            fqrn=name[1:],
            issued=_moment(issued),
            expires=_moment(expires[1:]),
            fingerprints=tuple(fingerprints),
            options=options,
            remarks=tuple(remarks),
        )

    def sign(self, signer: Signer, algorithm: HashAlgorithm) -> SignedWhitelist:
        """Sign the whitelist; the hash line uses the repository's `algorithm`."""
        body = self.body()
        hash_string = str(algorithm.digest(body)).encode()
        return SignedWhitelist(body, hash_string, signer.sign_whitelist(hash_string))


@dataclass(frozen=True, slots=True)
class SignedWhitelist:
    """A whitelist as it is stored: the signed text, its hash string, and the signature."""

    body: bytes
    hash_string: bytes
    signature: bytes

    @classmethod
    def from_bytes(cls, blob: bytes) -> SignedWhitelist:
        """Take ``.cvmfswhitelist`` apart; raises SignatureError if the hash line does not match the text."""
        return cls(*split_signed(blob))

    def to_bytes(self) -> bytes:
        """The bytes of ``.cvmfswhitelist``."""
        return join_signed(SignedParts(self.body, self.hash_string, self.signature))

    @property
    def unverified(self) -> Whitelist:
        """The whitelist, whoever signed it and when; raises WhitelistError."""
        return Whitelist.parse(self.body)

    def verify(self, public_keys: Sequence[bytes | str], *, fqrn: str, now: datetime) -> Whitelist:
        """The whitelist, if one of the master keys (PEM) signed it for `fqrn` and it is valid at `now` (aware).

        Raises SignatureError, WhitelistExpired, or WhitelistError.
        """
        verify_whitelist_signature(public_keys, self.hash_string, self.signature)
        whitelist = self.unverified
        if whitelist.fqrn != fqrn:
            raise SignatureError(f"the whitelist is for {whitelist.fqrn!r}, expected {fqrn!r}")
        if now >= whitelist.valid_until:
            raise WhitelistExpired(f"the whitelist of {fqrn} is valid until {whitelist.valid_until:%Y-%m-%d %H:%M} UTC")
        return whitelist


def render_fingerprint(fingerprint: Digest) -> str:
    """A fingerprint as whitelists show it: ``A4:29:…:9D``, with the tag of the algorithm (``signature.cc``)."""
    return fingerprint.raw.hex(":").upper() + fingerprint.algorithm.tag.upper()


def parse_fingerprint(line: str) -> Digest | None:
    """The fingerprint in a line, up to the first blank, tab or ``#``; None for a line that readers skip."""
    for end in " \t#":
        line = line.partition(end)[0]
    try:
        return Digest.parse(line.replace(":", "").lower())
    except AddressError:
        return None


def _timestamp(moment: datetime) -> str:
    utc = moment.astimezone(UTC)
    # strftime does not pad years
    return f"{utc.year:04}{utc:%m%d%H%M%S}"


def _moment(digits: str) -> datetime:
    if len(digits) != _TIMESTAMP_DIGITS or not (digits.isascii() and digits.isdigit()):
        raise WhitelistError(f"{digits!r} is not a time of {_TIMESTAMP_DIGITS} digits")
    try:
        return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError as err:
        raise WhitelistError(f"{digits!r} is not a time: {err}") from err
