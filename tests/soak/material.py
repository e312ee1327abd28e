"""What users do, drawn from a seed: keys that meet each other often, contents, archives, and what must be refused.

Nothing here talks to a server. The same seed gives the same operations; how they interleave is up to the machine.
"""

from __future__ import annotations

import gzip
import io
import random
import tarfile
import zipfile
from dataclasses import dataclass, field, replace
from enum import Enum

AREA = "cvmfs/"
LINK_SUFFIX = ".rclonelink"


class Kind(Enum):
    """Operations on a bucket, and how often each comes."""

    PUT = 30
    OVERWRITE = 18
    DELETE = 17
    RENAME = 8
    CHANGE_MODE = 4
    PUT_AND_MODE = 4.1
    DIRECTORY = 6
    LINK = 3.9
    ARCHIVE = 5
    INTO_ARCHIVE = 2
    CLASH = 3.1
    MARKER = 1.5
    LARGE = 0.3
    REFUSED_KEY = 3.2
    BROKEN_ARCHIVE = 2.2
    OUTSIDE = 0.7


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing a user does: put `body` at `key`, copy it from `source` and delete that, or else delete it.

    A copy onto itself replaces the metadata and deletes nothing; with `then`, one follows at once, as s3fs does it.
    """

    number: int
    kind: Kind
    repository: int
    key: str
    body: bytes | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    source: str = ""
    then: dict[str, str] = field(default_factory=dict)


_DIRECTORIES = ("bin", "lib", "lib/x", "lib/x/y", "share/doc", "ünï", "sp ace/+plus", "deep/a/b/c/d", "pkg", "data")
_NAMES = (
    "tool",
    "run.sh",
    "a",
    "b",
    "c.txt",
    "numbers.dat",
    "%25",
    "名前",
    "-dash",
    ".hidden",
    "x" * 200,
    "a\\b",
    "q?&=",
)
_REFUSED = (
    "a//b",
    "../up",
    "./here",
    "dir/../x",
    ".cvmfspublished",
    ".cvmfs/x",
    "line\nbreak",
    "y" * 256,
    "d/.cvmfscatalog/x",
)
_BROKEN = (b"this is no archive", b"\x1f\x8b\x08\x00broken", b"PK\x03\x04 and then nothing", b"")
_MODES = ("0644", "100755", "33188", "0600", "100444", "420")


class Users:
    """The users' next operations; `keys` is what they believe to be in each bucket."""

    def __init__(self, seed: int, repositories: int) -> None:
        self._random = random.Random(seed)
        self._repositories = repositories
        self._number = 0
        self._kinds = list(Kind)
        self.keys: list[dict[str, Kind]] = [{} for _ in range(repositories)]

    def next(self) -> Operation:
        """One more operation."""
        self._number += 1
        repository = self._random.randrange(self._repositories)
        kind = self._random.choices(self._kinds, [kind.value for kind in self._kinds])[0]
        operation = getattr(self, f"_{kind.name.lower()}")(repository, kind) or self._put(repository, Kind.PUT)
        keys = self.keys[repository]
        if operation.source:
            keys[operation.key] = keys.pop(operation.source, Kind.PUT)
        elif operation.body is None:
            keys.pop(operation.key, None)
        else:
            keys[operation.key] = operation.kind
        return operation

    def _make(self, repository, kind, name, body, *, source="", **metadata):
        return Operation(self._number, kind, repository, AREA + name, body, metadata, source)

    def _name(self) -> str:
        directory = self._random.choice(_DIRECTORIES)
        name = self._random.choice(_NAMES)
        return name if self._random.random() < 0.1 else f"{directory}/{name}{self._random.randrange(12)}"

    def _content(self) -> bytes:
        size = self._random.choice((0, 1, 10, 100, 2000, 2000, 20_000, 100_000))
        head = self._random.choice((b"", b"#!/bin/sh\n", b"\x7fELF"))
        return head + (b"text " * (size // 5) if self._random.random() < 0.5 else self._random.randbytes(size))

    def _existing(self, repository, *kinds):
        keys = [key for key, kind in self.keys[repository].items() if not kinds or kind in kinds]
        return self._random.choice(keys) if keys else None

    def _metadata(self) -> dict[str, str]:
        told = {}
        if self._random.random() < 0.4:
            told["mode"] = self._random.choice(_MODES)
        if self._random.random() < 0.3:
            told["mtime"] = f"{self._random.randrange(1_000_000_000, 1_700_000_000)}.5"
        return told

    def _put(self, repository, kind):
        return self._make(repository, kind, self._name(), self._content(), **self._metadata())

    def _overwrite(self, repository, kind):
        key = self._existing(repository, Kind.PUT, Kind.OVERWRITE, Kind.PUT_AND_MODE)
        return key and self._make(repository, kind, key[len(AREA) :], self._content(), **self._metadata())

    def _delete(self, repository, kind):
        key = self._existing(repository)
        return key and self._make(repository, kind, key[len(AREA) :], None)

    def _rename(self, repository, kind):
        key = self._existing(repository, Kind.PUT, Kind.OVERWRITE, Kind.ARCHIVE, Kind.LINK)
        if key is None:
            return None
        name = self._name()
        was = self.keys[repository][key]
        if was is Kind.ARCHIVE:
            name = f"moved/{key.rpartition('/')[2]}"
        elif was is Kind.LINK:
            name += LINK_SUFFIX
        return None if AREA + name == key else self._make(repository, kind, name, None, source=key)

    def _change_mode(self, repository, kind):
        """Copied onto itself, as rclone and s3fs do it: the same etag, other metadata."""
        key = self._existing(repository, Kind.PUT, Kind.OVERWRITE, Kind.PUT_AND_MODE)
        return key and self._make(
            repository, kind, key[len(AREA) :], None, source=key, mode=self._random.choice(_MODES)
        )

    def _put_and_mode(self, repository, kind):
        put = self._put(repository, kind)
        return replace(put, metadata={}, then={"mode": self._random.choice(_MODES)})

    def _directory(self, repository, kind):
        name = f"{self._random.choice(_DIRECTORIES)}/made{self._random.randrange(6)}/"
        return self._make(repository, kind, name, b"", **({"mode": "0750"} if self._random.random() < 0.3 else {}))

    def _link(self, repository, kind):
        target = self._random.choice(("../bin/tool", "nowhere", "/abs/olute", "ünï", "a" * 300))
        return self._make(repository, kind, f"{self._name()}.l{LINK_SUFFIX}", target.encode(), mode="120777")

    def _archive(self, repository, kind):
        stem = f"{self._random.choice(('sw', 'pkg', 'lib'))}/arc{self._random.randrange(5)}"
        suffix = self._random.choice((".tar.gz", ".tar", ".zip"))
        return self._make(repository, kind, stem + suffix, self._packed(stem.rpartition("/")[2], suffix))

    def _into_archive(self, repository, kind):
        key = self._existing(repository, Kind.ARCHIVE)
        if key is None:
            return None
        stem = key[len(AREA) :]
        for suffix in (".tar.gz", ".tar", ".zip"):
            stem = stem.removesuffix(suffix)
        name = self._random.choice(("added", "m0", "d/m1", "d", "new/file"))
        return self._make(repository, kind, f"{stem}/{name}", self._content())

    def _clash(self, repository, kind):
        """A file where a directory is, something below a file, or a link and a file of one name."""
        key = self._existing(repository, Kind.PUT, Kind.OVERWRITE, Kind.LINK)
        if key is None:
            return None
        name = key[len(AREA) :].removesuffix(LINK_SUFFIX)
        choices = [f"{name}/below", name, f"{name}{LINK_SUFFIX}"]
        if "/" in name:
            choices.append(name.rpartition("/")[0])
        return self._make(repository, kind, self._random.choice(choices), self._random.randbytes(20) or b"x")

    def _marker(self, repository, kind):
        return self._make(repository, kind, f"{self._random.choice(_DIRECTORIES)}/.cvmfscatalog", b"")

    def _large(self, repository, kind):
        body = self._random.randbytes(1 << 20) * self._random.choice((2, 9, 13))
        return self._make(repository, kind, f"large/{self._random.randrange(4)}.bin", body)

    def _refused_key(self, repository, kind):
        return self._make(repository, kind, self._random.choice(_REFUSED), b"refused")

    def _broken_archive(self, repository, kind):
        suffix = self._random.choice((".tar.gz", ".zip", ".tar.xz"))
        return self._make(
            repository, kind, f"bad/broken{self._random.randrange(5)}{suffix}", self._random.choice(_BROKEN)
        )

    def _outside(self, repository, kind):
        operation = self._make(repository, kind, "", self._content())
        return Operation(operation.number, kind, repository, f"private/{self._name()}", operation.body)

    def _packed(self, stem: str, suffix: str) -> bytes:
        """An archive with files, executables, directories, links and hard links, in a top folder or not."""
        top = f"{stem}/" if self._random.random() < 0.4 else ""
        members = [f"{top}m{n}" for n in range(self._random.randrange(1, 4))]
        members += [f"{top}d/m{n}" for n in range(self._random.randrange(1, 6))]
        members += [f"{top}d/e/ü{n}" for n in range(self._random.randrange(3))]
        packed = io.BytesIO()
        if suffix == ".zip":
            with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
                for name in members:
                    told = zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6))
                    told.create_system = 3
                    told.external_attr = (0o100000 | self._random.choice((0o644, 0o755, 0o600))) << 16
                    archive.writestr(told, self._random.randbytes(self._random.randrange(1, 3000)))
            return packed.getvalue()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in members:
                told = tarfile.TarInfo(name)
                content = self._random.randbytes(self._random.randrange(1, 3000))
                told.size, told.mtime = len(content), 1_500_000_000
                told.mode = self._random.choice((0o644, 0o755, 0o600, 0o4755))
                archive.addfile(told, io.BytesIO(content))
            for name, kind, target in (
                (f"{top}link", tarfile.SYMTYPE, "d/m0"),
                (f"{top}hard", tarfile.LNKTYPE, members[0]),
                (f"{top}empty", tarfile.DIRTYPE, ""),
            ):
                told = tarfile.TarInfo(name)
                told.type, told.linkname, told.mtime, told.mode = kind, target, 1_500_000_000, 0o700
                archive.addfile(told)
        # The time in the head of a gzip file would be another one in every run.
        return gzip.compress(packed.getvalue(), mtime=0) if suffix == ".tar.gz" else packed.getvalue()
