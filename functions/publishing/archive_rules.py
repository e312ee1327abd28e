"""What archives may hold: limits, rules for members, and which names can be published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from functions.cvmfs.entry import encode_text
from functions.publishing.keys import NAME_LIMIT, check_name

PATH_LIMIT = 4000
"""Bytes of a path in a repository: with ``/cvmfs/<name>`` before it, Linux takes 4095 (PATH_MAX)."""

DEPTH_LIMIT = 255
"""Directories in one another; no real tree comes near, and every name implies all those above it."""


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What an archive may hold: members, bytes unpacked, and how many times its own size that may be.

    Directories that the archive only implies count as members.
    """

    members: int = 1_000_000
    content_bytes: int = 200 * 2**30
    ratio: int = 200
    ratio_from_bytes: int = 256 * 2**20
    """Below this much content the ratio is not looked at: a small file of zeros compresses a thousand times."""
    file_bytes: int = 2**62
    """Content of one member."""

    @classmethod
    def none(cls) -> Self:
        """No limits but those of the format, for an archive that one trusts."""
        return cls(members=2**62, content_bytes=2**62, ratio_from_bytes=2**62, file_bytes=2**62)


@dataclass(frozen=True, slots=True)
class ArchiveRules:
    """How members are judged; the defaults are for archives of people whom the service does not know.

    `readable_by_all` adds what permissions lack for that; `links_inside` refuses links that climb out of the tree;
    `shown_names` refuses names that a terminal or a web page cannot show: control characters, no UTF-8.
    """

    readable_by_all: bool = True
    links_inside: bool = True
    shown_names: bool = True


def fault_of_name(name: str, *, is_shown: bool) -> str:
    """What is wrong with one component of a member's name, or an empty string."""
    if name == "..":
        return "'..' in its name"
    if "\0" in name:
        return "a NUL in its name"
    if not is_shown:
        size = len(encode_text(name))
        return f"a component of {size} bytes, at most {NAME_LIMIT} fit" if size > NAME_LIMIT else ""
    return check_name(name) if is_text(name) else "a name that is not UTF-8"


def is_text(name: str) -> bool:
    """Whether a name that was read as UTF-8 is that."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
