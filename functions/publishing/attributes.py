"""Object metadata to file attributes: what rclone, s3fs and a bare upload say about mode, time and type.

========  ==========================================  ===========================================
source    ``x-amz-meta-mode``                         ``x-amz-meta-mtime``
========  ==========================================  ===========================================
rclone    octal ``st_mode`` (``100755``, ``120777``)  seconds with fraction, or RFC 3339
s3fs      decimal ``st_mode`` (``33261``, ``41471``)  seconds
========  ==========================================  ===========================================

Published files are readable by everyone, unless the rules of the bucket say otherwise, and never setuid, setgid or
sticky.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

_KNOWN_TYPES = frozenset({stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK})
_TYPED_OCTAL_DIGITS = 6
_LARGEST_TIME = 2**33
"""Seconds; a time beyond the year 2242 is a mistake of the sender."""
_TIME_DIGITS = 20
"""Digits of seconds that are read at all: Python refuses to read thousands of them."""

EXECUTABLE_MAGIC = (b"\x7fELF", b"#!")
"""How files begin that are made executable when nothing says otherwise."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What the metadata says, each part None if it says nothing: permission bits, file type, mtime (s, ns)."""

    permissions: int | None = None
    file_type: int | None = None
    mtime: int | None = None
    mtime_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Permissions:
    """How permission bits are decided: `files` are those of every file, if not None.

    With `readable_by_all` everybody may read everything and enter every directory.
    """

    files: int | None = None
    readable_by_all: bool = True


USUAL = Permissions()


def read_attributes(metadata: Mapping[str, str], *, is_directory_marker: bool = False) -> Attributes:
    """The attributes in an object's metadata; anything unreadable counts as not said."""
    permissions, file_type = _read_mode(metadata.get("mode", ""), prefer_octal=is_directory_marker)
    mtime, mtime_ns = _read_time(metadata.get("mtime", ""))
    return Attributes(permissions, file_type, mtime, mtime_ns)


def file_mode(attributes: Attributes, head: bytes, rules: Permissions = USUAL) -> int:
    """The complete ``st_mode`` of a regular file, from its metadata or else its first bytes."""
    if rules.files is not None:
        permissions = rules.files
    elif attributes.permissions is None:
        permissions = 0o755 if head.startswith(EXECUTABLE_MAGIC) else 0o644
    else:
        permissions = attributes.permissions
    return stat.S_IFREG | (readable_by_all(permissions) if rules.readable_by_all else permissions & 0o777)


def directory_mode(attributes: Attributes, rules: Permissions = USUAL) -> int:
    """The complete ``st_mode`` of a directory."""
    permissions = 0o755 if attributes.permissions is None else attributes.permissions
    return stat.S_IFDIR | (permissions & 0o777) | (0o555 if rules.readable_by_all else 0)


def readable_by_all(permissions: int) -> int:
    """Permission bits with read for everyone, execute for everyone if the owner has it, and no special bits."""
    permissions = (permissions & 0o777) | 0o444
    return permissions | 0o111 if permissions & 0o100 else permissions


def _read_mode(text: str, *, prefer_octal: bool) -> tuple[int | None, int | None]:
    digits = text.strip().removeprefix("0o")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 8:
        return None, None
    octal = int(digits, 8) if not set(digits) & {"8", "9"} else None
    decimal = int(digits)
    if octal is not None and octal <= 0o7777:
        return octal, None
    typed_octal = octal is not None and stat.S_IFMT(octal) in _KNOWN_TYPES and octal < 0o200000
    typed_decimal = stat.S_IFMT(decimal) in _KNOWN_TYPES and decimal < 0o200000
    # Five digits can be either: "41777" is a sticky directory in octal and a symlink in decimal. rclone writes files
    # and links with six digits and directories as markers, so elsewhere five digits are s3fs's decimal.
    written_octal = len(digits) >= _TYPED_OCTAL_DIGITS or digits.startswith("0") or prefer_octal
    if octal is not None and typed_octal and (written_octal or not typed_decimal):
        return stat.S_IMODE(octal), stat.S_IFMT(octal)
    if typed_decimal:
        return stat.S_IMODE(decimal), stat.S_IFMT(decimal)
    return None, None


def _read_time(text: str) -> tuple[int | None, int | None]:
    text = text.strip()
    seconds, _, fraction = text.partition(".")
    if seconds.isascii() and seconds.isdigit() and (not fraction or (fraction.isascii() and fraction.isdigit())):
        if len(seconds) > _TIME_DIGITS or int(seconds) > _LARGEST_TIME:
            return None, None
        return int(seconds), int(fraction[:9].ljust(9, "0")) if fraction else None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None, None
    if moment.tzinfo is None or not 0 <= moment.timestamp() <= _LARGEST_TIME:
        return None, None
    return int(moment.timestamp()), moment.microsecond * 1000 or None
