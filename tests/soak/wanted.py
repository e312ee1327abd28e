"""What a repository must hold, told from its bucket alone and in the most naive way.

Shares no rule with the service's own code: keys, modes, archives and clashes are judged here once more.
"""

from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import zipfile
from dataclasses import dataclass, field

AREA = "cvmfs/"
LINK_SUFFIX = ".rclonelink"
ARCHIVES = (".tar.gz", ".tar.xz", ".tar", ".zip")
MARKERS = {".cvmfscatalog", ".cvmfsautocatalog"}


@dataclass(frozen=True, slots=True)
class Item:
    """What is at a path: type and permissions (None where nothing says them), hash of the content, target of a link."""

    type: str
    mode: int | None = None
    content: str = ""
    target: str = ""

    def __str__(self):
        mode = "" if self.mode is None else f" {self.mode:o}"
        return f"{self.type}{mode} {self.content[:12]}{self.target}".rstrip()


@dataclass(frozen=True, slots=True)
class Stored:
    """One object of the bucket, as it is now."""

    key: str
    etag: str
    modified: int
    metadata: dict
    body: bytes


@dataclass(slots=True)
class Claim:
    """What one object wants to be: `item` at `path`; an archive also everything in `below`."""

    stored: Stored
    path: str
    item: Item
    archive: bool = False
    below: dict[str, Item] = field(default_factory=dict)


@dataclass(slots=True)
class Wanted:
    """The tree, the keys that cannot be published at all, and the keys that lost their path to a newer object."""

    tree: dict[str, Item] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    origin: dict[str, str] = field(default_factory=dict)
    archives: set[str] = field(default_factory=set)


def digest(body):
    return hashlib.sha256(body).hexdigest()


def is_refused_key(key):
    """Whether nothing can ever be published under this key."""
    name = key[len(AREA) :].removesuffix("/")
    parts = name.split("/")
    return bool(name) and (
        any(part in {"", ".", ".."} or len(part.encode()) > 255 for part in parts)
        or any(ord(character) < 32 or 127 <= ord(character) < 160 for character in name)
        or (parts[0].startswith(".cvmfs") and parts[0] not in {".cvmfsdirtab", ".cvmfscatalog"})
        or ".cvmfscatalog" in parts[:-1]
    )


def wanted(objects):
    """The tree that these objects make: the newer object wins a path, of equally old ones that with the higher key."""
    found = Wanted()
    claims = []
    for stored in objects:
        if not stored.key.startswith(AREA) or stored.key == AREA:
            continue
        claim = None if is_refused_key(stored.key) else _claim(stored)
        if claim is None:
            found.refused.add(stored.key)
        else:
            claims.append(claim)
    claims.sort(key=_rank, reverse=True)
    holding = _Holding()
    for claim in claims:
        if holding.has_room(claim):
            holding.add(claim)
        else:
            found.lost.add(claim.stored.key)
    for claim in reversed(holding.claims):
        _enter(found, claim)
    return found


def _rank(claim):
    return claim.stored.modified, claim.stored.key


class _Holding:
    """The claims that hold so far, newest first."""

    def __init__(self):
        self.claims = []
        self._at = {}
        self._above = set()

    def add(self, claim):
        self.claims.append(claim)
        self._at.setdefault(claim.path, []).append(claim)
        self._above |= set(_parents(claim.path))

    def has_room(self, claim):
        for above in _parents(claim.path):
            for holder in self._at.get(above, ()):
                if holder.item.type != "directory" or holder.archive:
                    return False
        for holder in self._at.get(claim.path, ()):
            both_directories = claim.item.type == holder.item.type == "directory"
            if not both_directories or (claim.archive and holder.archive):
                return False
        return claim.item.type == "directory" or claim.path not in self._above


def _parents(path):
    while (path := path.rpartition("/")[0]) != "":
        yield path


def _enter(found, claim):
    """Oldest first: an archive's tree comes before what was put into it, and takes the place of what it had before."""
    tree = found.tree
    for above in _parents(claim.path):
        if above in tree and tree[above].type != "directory":
            _remove(tree, above)  # a member of an archive that an upload goes through
        tree.setdefault(above, Item("directory"))
    found.origin.setdefault(claim.path, claim.stored.key)
    existing = tree.get(claim.path)
    if claim.item.type == "directory" and not claim.archive:
        if claim.path in found.archives:
            return  # the directory exists by its archive; a marker adds nothing
        if existing is not None and existing.type != "directory":
            _remove(tree, claim.path)
        tree[claim.path] = claim.item
        return
    _remove(tree, claim.path)
    tree[claim.path] = claim.item
    found.origin[claim.path] = claim.stored.key
    if claim.archive:
        found.archives.add(claim.path)
    for path, item in claim.below.items():
        for above in _parents(path):
            tree.setdefault(above, Item("directory"))
        tree[path] = item
        found.origin[path] = claim.stored.key


def _remove(tree, path):
    for below in [below for below in tree if below == path or below.startswith(path + "/")]:
        del tree[below]


def _claim(stored):
    name = stored.key[len(AREA) :]
    if name.endswith("/"):
        mode = _mode(stored.metadata)
        return Claim(stored, "/" + name[:-1], Item("directory", (0o755 if mode is None else mode) & 0o777 | 0o555))
    if name.endswith(LINK_SUFFIX) and not name.endswith("/" + LINK_SUFFIX):
        target = _target(stored.body)
        return target and Claim(stored, "/" + name.removesuffix(LINK_SUFFIX), Item("link", target=target))
    for suffix in ARCHIVES:
        if name.endswith(suffix) and not name.endswith("/" + suffix) and name != suffix:
            path = "/" + name.removesuffix(suffix)
            members = _members(stored.body, path.rpartition("/")[2], zipped=suffix == ".zip")
            if members is None:
                return None
            below = {f"{path}/{member}": item for member, item in members.items() if member}
            return Claim(stored, path, Item("directory"), archive=True, below=below)
    mode = _mode(stored.metadata)
    if mode is None:
        mode = 0o755 if stored.body.startswith((b"#!", b"\x7fELF")) else 0o644
    return Claim(stored, "/" + name, Item("file", _readable(mode), digest(stored.body)))


def _target(body):
    """The target of a link; None if there can be no such link."""
    try:
        target = body.decode()
    except UnicodeDecodeError:
        return None
    return target if target and "\0" not in target and len(body) <= 4096 else None


def _mode(metadata):
    """Octal as rclone writes it, or decimal as s3fs does."""
    told = metadata.get("mode", "")
    if not told:
        return None
    octal = int(told, 8) if not set(told) & set("89") else None
    if octal is not None and (len(told) == 6 or octal <= 0o7777):
        return octal & 0o777
    return int(told) & 0o777


def _readable(mode):
    mode = mode & 0o777 | 0o444
    return mode | 0o111 if mode & 0o100 else mode


def _members(body, stem, *, zipped):
    """The members of an archive by their path in it; None if it cannot be read or is empty."""
    try:
        found = _zip_members(body) if zipped else _tar_members(body)
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError):
        return None
    if not found:
        return None
    tops = {name.partition("/")[0] for name in found}
    if tops == {stem} and all(name.startswith(stem + "/") or item.type == "directory" for name, item in found.items()):
        found = {name.removeprefix(stem).removeprefix("/"): item for name, item in found.items()}
    return found


def _tar_members(body):
    found = {}
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member).read()
                mode = _readable(member.mode if member.mode & 0o777 else 0o644)
                found[member.name] = Item("file", mode, digest(content))
            elif member.issym():
                found[member.name] = Item("link", target=member.linkname)
            elif member.islnk():
                found[member.name] = found[member.linkname]
            elif member.isdir():
                found[member.name] = Item("directory", member.mode & 0o777 | 0o555)
    return found


def _zip_members(body):
    found = {}
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for member in archive.infolist():
            content = archive.read(member)
            found[member.filename] = Item("file", _readable(member.external_attr >> 16), digest(content))
    return found


def item_of(entry, content):
    """The item that a catalog entry stands for; `content` gives the hash of what a file holds."""
    if stat.S_ISLNK(entry.mode):
        return Item("link", target=entry.symlink)
    if stat.S_ISDIR(entry.mode):
        return Item("directory", stat.S_IMODE(entry.mode))
    return Item("file", stat.S_IMODE(entry.mode), content())


def differences(expected, found):
    """Paths that are missing, too much or different, each with what it should be and what it is."""
    faults = {}
    for path in sorted(expected.keys() | found.keys()):
        if path.rpartition("/")[2] in MARKERS and (path not in expected or path in found):
            continue  # the publisher makes markers where it makes nested catalogs
        should, does = expected.get(path), found.get(path)
        if should is None or does is None:
            faults[path] = f"should be {should or 'absent'}, is {does or 'absent'}"
        elif (should.type, should.content, should.target) != (does.type, does.content, does.target) or (
            should.mode is not None and should.type != "link" and should.mode != does.mode
        ):
            faults[path] = f"should be {should}, is {does}"
    return faults
