"""What the demo uploads: a real software tree, and the odd things that a real tree does not happen to contain."""

from __future__ import annotations

import hashlib
import io
import random
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

AREA = "cvmfs/"

LARGEST_BYTES = 8 * 2**20
"""Files of the tree above this are left out: the demo is to take a minute, not ten."""

BIG_FILE_BYTES = 20 * 2**20
"""Above the largest chunk of 16 MiB, so the file is stored in several."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An object to put: its key, its bytes (or the file that has them), and rclone's metadata."""

    key: str
    body: bytes | Path = b""
    metadata: dict[str, str] = field(default_factory=dict)

    def read(self) -> bytes:
        """The object's bytes."""
        return self.body.read_bytes() if isinstance(self.body, Path) else self.body


@dataclass(frozen=True, slots=True)
class Expected:
    """What a worker node must see at a path: complete ``st_mode``, SHA-256 of the content, target of a link."""

    mode: int
    sha256: str = ""
    target: str = ""


def expected(upload: Upload) -> tuple[str, Expected]:
    """The path an upload becomes, and what must be there."""
    path = "/" + upload.key.removeprefix(AREA)
    mode = int(upload.metadata["mode"], 8) if "mode" in upload.metadata else stat.S_IFREG | 0o644
    if stat.S_ISLNK(mode):
        return path.removesuffix(".rclonelink"), Expected(stat.S_IFLNK | 0o777, target=upload.read().decode())
    if path.endswith("/"):
        return path.rstrip("/"), Expected(stat.S_IFDIR | 0o755)
    readable = mode | 0o444 | (0o111 if mode & 0o100 else 0)
    return path, Expected(readable & ~0o7000, hashlib.sha256(upload.read()).hexdigest())


def software_tree(source: Path, *, most: int) -> Iterator[Upload]:
    """A folder as rclone uploads it, links and modes included; at most `most` objects, below ``cvmfs/sw/``."""
    count = 0
    for path in sorted(source.rglob("*")):
        if count >= most:
            return
        name = f"{AREA}sw/{path.relative_to(source).as_posix()}"
        if path.is_symlink():
            yield Upload(f"{name}.rclonelink", str(path.readlink()).encode(), _metadata(path))
        elif path.is_file() and path.stat().st_size <= LARGEST_BYTES:
            yield Upload(name, path, _metadata(path))
        else:
            continue
        count += 1


def odd_things(dice: random.Random) -> list[Upload]:
    """Names, sizes and modes that break careless software."""
    return [
        Upload(f"{AREA}odd/empty"),
        Upload(f"{AREA}odd/sp ace+plus%25 & ampersand.txt", b"spaces\n"),
        Upload(f"{AREA}odd/ümläut/漢字/emoji 🚀.txt", b"unicode\n"),
        Upload(f"{AREA}odd/quote'\"back\\slash<>|*?.txt", b"quotes\n"),
        Upload(f"{AREA}odd/" + "n" * 255, b"a name of 255 bytes\n"),
        Upload(f"{AREA}odd/deep/" + "/".join("abcdefghijklmnopqrst"), b"twenty folders down\n"),
        Upload(f"{AREA}odd/.hidden", b"hidden\n"),
        Upload(f"{AREA}odd/script.sh", b"#!/bin/sh\necho hello\n", {"mode": "100755"}),
        Upload(f"{AREA}odd/private", b"readable by all once published\n", {"mode": "100600"}),
        Upload(f"{AREA}odd/setuid", b"never setuid once published\n", {"mode": "104755"}),
        Upload(f"{AREA}odd/link.rclonelink", b"script.sh", {"mode": "120777"}),
        Upload(f"{AREA}odd/dangling.rclonelink", b"/nowhere/at/all", {"mode": "120777"}),
        Upload(f"{AREA}odd/variable.rclonelink", b"$(CVMFS_ARCH)/lib", {"mode": "120777"}),
        Upload(f"{AREA}odd/empty folder/"),
        Upload(f"{AREA}odd/big.bin", dice.randbytes(BIG_FILE_BYTES)),
    ]


def archive(name: str, dice: random.Random, *, files: int) -> tuple[Upload, dict[str, Expected]]:
    """A ``.tar.gz`` of a small installation, and what its tree must look like once unpacked."""
    stem = name.removesuffix(".tar.gz")
    top = f"/{stem}"
    tree: dict[str, Expected] = {top: Expected(stat.S_IFDIR | 0o755)}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for number in range(files):
            folder = f"lib/part{number % 20:02}"
            body = dice.randbytes(64) * dice.randint(1, 40)
            _add(tar, f"{stem}/{folder}/module{number:04}.py", body, 0o644)
            tree.setdefault(f"{top}/lib", Expected(stat.S_IFDIR | 0o755))
            tree.setdefault(f"{top}/{folder}", Expected(stat.S_IFDIR | 0o755))
            tree[f"{top}/{folder}/module{number:04}.py"] = _file(body, 0o644)
        tool = b"#!/bin/sh\nexec python3 -m module0000\n"
        _add(tar, f"{stem}/bin/tool", tool, 0o4755)
        tree[f"{top}/bin"] = Expected(stat.S_IFDIR | 0o755)
        tree[f"{top}/bin/tool"] = _file(tool, 0o755)
        link = tarfile.TarInfo(f"{stem}/bin/tool-latest")
        link.type, link.linkname = tarfile.SYMTYPE, "tool"
        tar.addfile(link)
        tree[f"{top}/bin/tool-latest"] = Expected(stat.S_IFLNK | 0o777, target="tool")
        hard = tarfile.TarInfo(f"{stem}/bin/tool-same")
        hard.type, hard.linkname = tarfile.LNKTYPE, f"{stem}/bin/tool"
        tar.addfile(hard)
        tree[f"{top}/bin/tool-same"] = tree[f"{top}/bin/tool"]
    return Upload(f"{AREA}{name}", packed.getvalue()), tree


def _metadata(path: Path) -> dict[str, str]:
    status = path.lstat()
    return {"mode": f"{status.st_mode:o}", "mtime": f"{status.st_mtime:.9f}"}


def _add(tar: tarfile.TarFile, name: str, body: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(body), mode, 1_700_000_000
    tar.addfile(member, io.BytesIO(body))


def _file(body: bytes, mode: int) -> Expected:
    return Expected(stat.S_IFREG | mode, hashlib.sha256(body).hexdigest())
