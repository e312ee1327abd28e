"""Members of zip archives in bzip2 and LZMA, inflated a bounded piece at a time.

``zipfile`` inflates whatever it has read of them: 45 bytes of bzip2 can be 46 MB of zeros.
"""

from __future__ import annotations

import bz2
import copy
import lzma
import struct
import zipfile
import zlib
from collections.abc import Generator
from typing import IO

from functions.publishing.decompression import MEMORY_BYTES, PIECE_BYTES

_READ_BYTES = 64 << 10
_LZMA_HEADER = struct.Struct("<HHBI")


def inflated(archive: zipfile.ZipFile, found: zipfile.ZipInfo) -> Generator[bytes, None, None]:
    """The content of a member, checked against its size and checksum; raises what ``zipfile`` raises."""
    stored = copy.copy(found)
    stored.compress_type, stored.file_size = zipfile.ZIP_STORED, found.compress_size
    del stored.CRC  # that of the content, not of these bytes
    missing, checksum = found.file_size, 0
    with archive.open(stored) as packed:
        decoder = bz2.BZ2Decompressor() if found.compress_type == zipfile.ZIP_BZIP2 else _lzma_decoder(packed)
        while missing:
            data = packed.read(_READ_BYTES) if decoder.needs_input else b""
            if decoder.needs_input and not data:
                raise EOFError(f"{found.filename!r} ends early")
            piece = decoder.decompress(data, min(missing, PIECE_BYTES))
            missing -= len(piece)
            checksum = zlib.crc32(piece, checksum)
            if missing == 0 and checksum != found.CRC:
                raise zipfile.BadZipFile(f"{found.filename!r} has a wrong checksum")
            yield piece


def _lzma_decoder(packed: IO[bytes]) -> lzma.LZMADecompressor:
    """The decoder that the properties before the data describe (APPNOTE.TXT 5.8)."""
    header = packed.read(_LZMA_HEADER.size)
    if len(header) < _LZMA_HEADER.size:
        raise EOFError("the properties of LZMA are missing")
    _, size, packed_bits, dictionary = _LZMA_HEADER.unpack(header)
    if size != 5 or dictionary > MEMORY_BYTES:
        raise zipfile.BadZipFile(f"LZMA needs {dictionary} bytes of memory, at most {MEMORY_BYTES} are there")
    rest, literal_context = divmod(packed_bits, 9)
    position, literal_position = divmod(rest, 5)
    settings = {"lc": literal_context, "lp": literal_position, "pb": position, "dict_size": dictionary}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, **settings}])
