"""The repositories written by the official tools (``tests/data/golden``), unpacked once per test run.

``golden("sha1")`` gives one; ``GOLDEN`` has all names for ``pytest.mark.parametrize``.
"""

from __future__ import annotations

import atexit
import json
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

DATA = Path(__file__).parent / "data" / "golden"

GOLDEN = ("sha1", "rmd160", "shake128")
"""The names ``golden`` takes: the hash algorithms of the three repositories."""

TAGS = ("v1", "v2", "trunk")
"""The tags for which there is a listing."""

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
"""A moment at which the golden whitelists are valid."""


@dataclass(frozen=True)
class GoldenRepository:
    """One golden repository: its folder, and its keys and certificate as PEM text."""

    fqrn: str
    folder: Path
    public_key: bytes
    certificate: bytes
    signing_key: bytes
    master_key: bytes

    def fetch(self, path: str) -> bytes | None:
        """The stored bytes of a file below the repository root, or None."""
        file = self.folder / path
        return file.read_bytes() if file.is_file() else None

    def exists(self, path: str) -> bool:
        """Whether a file is stored."""
        return (self.folder / path).is_file()

    def read(self, path: str) -> bytes:
        """The stored bytes of a file that must be there."""
        return (self.folder / path).read_bytes()

    def paths(self) -> Iterator[str]:
        """The paths of all stored files, in order."""
        for file in sorted(self.folder.rglob("*")):
            if file.is_file():
                yield file.relative_to(self.folder).as_posix()

    def listing(self, tag: str) -> list[dict]:
        """What the official client shows at a tag: one dictionary per path."""
        return json.loads((DATA / f"{self.fqrn}.{tag}.listing.json").read_text())

    @property
    def reflog_checksum(self) -> str:
        """The hash string of the reflog, as the server keeps it."""
        return (DATA / f"{self.fqrn}.reflog.chksum").read_text()


@cache
def _unpacked() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cvmfs-golden-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with tarfile.open(DATA / "keys.tar.xz") as keys:
        keys.extractall(folder)
    return folder


@cache
def golden(name: str) -> GoldenRepository:
    """The golden repository ``NAME.golden.example``. Its folder is shared by all tests: read only."""
    fqrn = f"{name}.golden.example"
    folder = _unpacked()
    with tarfile.open(DATA / f"{fqrn}.tar.xz") as repository:
        repository.extractall(folder)
    keys = folder / "keys"
    return GoldenRepository(
        fqrn,
        folder / fqrn,
        public_key=(keys / f"{fqrn}.pub").read_bytes(),
        certificate=(keys / f"{fqrn}.crt").read_bytes(),
        signing_key=(keys / f"{fqrn}.key").read_bytes(),
        master_key=(keys / f"{fqrn}.masterkey").read_bytes(),
    )
