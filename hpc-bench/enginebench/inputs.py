"""What is published: made from this machine's own Python sources, or from nothing, always the same way."""

from __future__ import annotations

import io
import os
import random
import sysconfig
import tarfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

MEBIBYTE = 1 << 20
CORPUS_BYTES = 4 * MEBIBYTE
"""Sources that long texts are put together from; a deflater looks back 32 KiB, so more would not change anything."""

SMALL_FILE_LIMIT = 16_000
"""Files of site-packages up to this size have 3.2 kB on average."""

_NOT_SOURCES = {".pyc", ".so", ".a", ".exe", ".dll"}


def sources(*, most: int) -> Iterator[Path]:
    """Regular files of at most `most` bytes among this machine's Python packages and standard library, in order."""
    paths = sysconfig.get_paths()
    seen = set()
    for top in (paths["purelib"], paths["stdlib"]):
        for file in sorted(Path(top).rglob("*")):
            if file.suffix not in _NOT_SOURCES and file.is_file() and not file.is_symlink() and file not in seen:
                seen.add(file)
                if file.stat().st_size <= most:
                    yield file


def small_files(tree: Path, count: int) -> float:
    """Make a tree like site-packages with `count` files; returns their mean size in bytes.

    Where the machine has fewer, they come again with a line more, in other directories.
    """
    found = list(islice(sources(most=SMALL_FILE_LIMIT), count))
    prefix = os.path.commonpath(found)
    size = 0
    for number, file in enumerate(islice(cycle(found), count)):
        lap = number // len(found)
        content = file.read_bytes() + (b"# %d\n" % lap if lap else b"")
        copy = tree / f"lap{lap}" / file.relative_to(prefix)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
        size += len(content)
    return size / count


def text_blocks(size: int) -> Iterator[bytes]:
    """A long text in blocks of 1 MiB: Python sources over and over, in another order each time, so no part repeats."""
    corpus = []
    rest = CORPUS_BYTES
    for file in sources(most=CORPUS_BYTES):
        if file.suffix == ".py" and rest > 0:
            corpus.append(file.read_bytes())
            rest -= len(corpus[-1])
    shuffled = random.Random(1)
    pending = bytearray()
    while size:
        shuffled.shuffle(corpus)
        for number, text in enumerate(corpus):
            pending += b"# %d %d\n" % (size, number)
            pending += text
            while size and len(pending) >= min(size, MEBIBYTE):
                block = bytes(pending[: min(size, MEBIBYTE)])
                del pending[: len(block)]
                size -= len(block)
                yield block


def random_blocks(size: int) -> Iterator[bytes]:
    """Content that no compression makes smaller, in blocks of 1 MiB."""
    generator = random.Random(1)
    for _ in range(size // MEBIBYTE):
        yield generator.randbytes(MEBIBYTE)


def write_file(path: Path, blocks: Iterator[bytes]) -> None:
    """Blocks into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.writelines(blocks)


def words(size: int, seed: int) -> bytes:
    """Content that compresses about as well as source code does, another one for each `seed`."""
    generator = random.Random(seed)
    vocabulary = [f"word{number:x}" for number in range(500)]
    text = " ".join(generator.choices(vocabulary, k=size // 6))
    return text.encode()[:size].ljust(size, b"\n")


def write_archive(path: Path, *, members: int, member_bytes: int, per_directory: int = 100) -> None:
    """A tar archive of files of one size."""
    with tarfile.open(path, mode="w") as tar:
        for number in range(members):
            member = tarfile.TarInfo(f"pkg/d{number // per_directory}/file{number}")
            member.size = member_bytes
            tar.addfile(member, io.BytesIO(words(member_bytes, number)))
