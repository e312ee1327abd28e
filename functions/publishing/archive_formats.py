"""How archives are read: tar in any compression while it streams, zip by ranges, since its index is at its end."""

from __future__ import annotations

import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from functions.ports import ObjectReader
from functions.publishing.archive import Unpacking
from functions.publishing.decompression import decompressed, is_compressed
from functions.publishing.tar_archive import unpack_tar
from functions.publishing.zip_archive import is_zip, unpack_zip

_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    ValueError,
)
"""What the libraries raise for bytes that are not what they should be."""


def unpack(reader: ObjectReader, unpacking: Unpacking) -> None:
    """Unpack an archive of any kind, told by its first bytes, or a zip by its name; raises UploadRefused."""
    with _refusals(unpacking):
        if unpacking.name.lower().endswith(".zip"):
            unpack_zip(reader, unpacking)
            return
        blocks = _counted(reader.blocks(), unpacking)
        first = next(blocks, b"")
        if is_zip(first) and unpacking.stored_size is None:
            fault = "is a zip archive, which has its index at its end: give it as a file, not through a pipe"
            raise unpacking.refused(fault, "archive-needs-a-file")
        if is_zip(first):
            unpack_zip(reader, unpacking)
        else:
            _unpack_stream(first, blocks, unpacking)


def _unpack_stream(first: bytes, rest: Iterator[bytes], unpacking: Unpacking) -> None:
    blocks = chain((first,), rest)
    if not is_compressed(first):
        unpack_tar(blocks, unpacking)
        return
    # It is read to its end, where the checksum of all comes.
    unpack_tar(_unpacked(decompressed(blocks), unpacking), unpacking)


def _counted(blocks: Iterator[bytes], unpacking: Unpacking) -> Iterator[bytes]:
    for block in blocks:
        unpacking.arrived(len(block))
        yield block


def _unpacked(pieces: Iterator[bytes], unpacking: Unpacking) -> Iterator[bytes]:
    for piece in pieces:
        unpacking.unpacked(len(piece))
        yield piece


@contextmanager
def _refusals(unpacking: Unpacking) -> Iterator[None]:
    """Turns what the libraries raise for damaged input into the one refusal that the user reads."""
    try:
        yield
    except _DAMAGE as err:
        raise unpacking.refused(f"cannot be read: {err}", "archive-broken") from err
