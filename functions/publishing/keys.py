"""S3 keys to repository paths: the one door through which names enter.

``cvmfs/a/b`` becomes ``/a/b``. Names are taken as they are (Unicode form untouched); what no worker node could show, or
what CVMFS keeps for itself, is refused with a reason the user can read.
"""

from __future__ import annotations

import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, StrEnum

from functions.cvmfs.entry import MARKER_NAME, encode_text
from functions.errors import UploadRefused

AREA = "cvmfs/"
"""The part of a bucket that is published."""

NAME_LIMIT = 255
"""Bytes in one path component (Linux NAME_MAX)."""

LINK_SUFFIX = ".rclonelink"
"""What rclone appends to the key of a symbolic link; the object's content is the target."""

ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".zip")

_RESERVED_ANYWHERE = (".cvmfsautocatalog", ".cvmfsgraft-")
_ALLOWED_TOP_LEVEL = frozenset({".cvmfsdirtab"})


SETTINGS_KEY = AREA + ".cvmfs-sync.toml"
"""The rules that a bucket has for itself; they are followed and not published."""

SOFTWARE = "/software"
"""Where all archives of a bucket can be unpacked."""


class ArchivePlace(StrEnum):
    """What becomes of an archive ``<dir>/<name>.tar.gz``."""

    NAME = "name"
    """Its tree is ``/<dir>/<name>``."""
    SOFTWARE = "software"
    """Its tree is ``/software/<dir>/<name>``."""
    FILE = "file"
    """It is published as the file that it is."""


class TargetKind(Enum):
    """What an object stands for, judged by its key alone."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    ARCHIVE = "archive"
    ROOT = "root"  # the marker object of the area itself, or its settings: nothing to publish


@dataclass(frozen=True, slots=True)
class Target:
    """Where an object goes: a repository path, and what stands there."""

    path: str
    kind: TargetKind


def in_area(key: str) -> bool:
    """Whether the key is in the published part of its bucket."""
    return key.startswith(AREA)


def key_to_target(key: str, *, archives: ArchivePlace = ArchivePlace.NAME) -> Target:
    """The target of an object; raises UploadRefused with the reason."""
    if not in_area(key):
        raise UploadRefused(f"{key!r} is outside {AREA!r}", code="key-outside-area")
    name = key[len(AREA) :]
    if not name or key == SETTINGS_KEY:
        return Target("", TargetKind.ROOT)
    kind = TargetKind.FILE
    if name.endswith("/"):
        name, kind = name[:-1], TargetKind.DIRECTORY
    elif name.endswith(LINK_SUFFIX) and name.rpartition("/")[2] != LINK_SUFFIX:
        name, kind = name.removesuffix(LINK_SUFFIX), TargetKind.LINK
    segments = name.split("/")
    for segment in segments:
        _check_segment(key, segment)
    _check_reserved(key, segments)
    path = "/" + name
    unpacked = archives is not ArchivePlace.FILE
    if kind is TargetKind.FILE and unpacked and (stem := archive_stem(segments[-1])):
        segments[-1], kind = stem, TargetKind.ARCHIVE
        _check_segment(key, stem)
        _check_reserved(key, segments)
    if kind is not TargetKind.FILE and segments[-1] == MARKER_NAME:
        raise UploadRefused(f"{key!r}: {MARKER_NAME!r} is a file, not a {kind.value}", code="key-reserved")
    if kind is TargetKind.ARCHIVE:
        place = SOFTWARE if archives is ArchivePlace.SOFTWARE else ""
        return Target("/".join((place, *segments)), TargetKind.ARCHIVE)
    return Target(path, kind)


def other_paths(key: str, path: str) -> list[str]:
    """Where else the object of a key would be under other rules for archives: it may have been published by those."""
    if archive_stem(key) is None:
        return []
    places = set()
    for archives in ArchivePlace:
        with suppress(UploadRefused):
            places.add(key_to_target(key, archives=archives).path)
    return sorted(places - {path})


def archive_stem(name: str) -> str | None:
    """The name without its archive suffix, or None if it has none or nothing is left of it."""
    lowered = name.lower()
    for suffix in sorted(ARCHIVE_SUFFIXES, key=len, reverse=True):
        if lowered.endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    return None


def check_name(name: str) -> str:
    """What is wrong with one path component as a file name, or an empty string."""
    # What can be printed has no control characters; most names can, and archives have many.
    if not name.isprintable() and any(unicodedata.category(character) == "Cc" for character in name):
        return "a control character in its name"
    if 4 * len(name) > NAME_LIMIT and (size := len(encode_text(name))) > NAME_LIMIT:
        return f"a component of {size} bytes, at most {NAME_LIMIT} fit"
    return ""


def _check_segment(key: str, segment: str) -> None:
    if not segment:
        raise UploadRefused(f"{key!r} has an empty path component", code="key-empty-component")
    if segment in {".", ".."}:
        raise UploadRefused(f"{key!r} contains the path component {segment!r}", code="key-dot-component")
    if fault := check_name(segment):
        raise UploadRefused(f"{key!r} has {fault}", code="key-bad-name")


def _check_reserved(key: str, segments: list[str]) -> None:
    top = segments[0]
    if top.startswith(".cvmfs") and top not in _ALLOWED_TOP_LEVEL:
        raise UploadRefused(f"{key!r}: {top!r} at the top of a repository is CVMFS's own", code="key-reserved")
    for segment in segments:
        if segment.startswith(_RESERVED_ANYWHERE):
            raise UploadRefused(f"{key!r}: {segment!r} is a name CVMFS keeps for itself", code="key-reserved")
    if MARKER_NAME in segments[:-1]:
        raise UploadRefused(f"{key!r}: {MARKER_NAME!r} is a file, not a directory", code="key-reserved")
