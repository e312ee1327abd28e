"""Compressed streams to their content, a bounded piece at a time, whatever they claim to hold.

The kind is told by the first bytes. Streams that are one after the other (``pigz``, ``pbzip2``, ``pixz``, ``cat``) are
read as one, as their own tools do; checksums are verified, and zeros after the last stream are padding.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Protocol, cast

import zstandard

PIECE_BYTES = 256 << 10
"""Bytes decompressed at a time; a small file of zeros must not become a gigabyte in memory."""

MEMORY_BYTES = 136 << 20
"""What a decompressor may need: ``zstd --ultra -22`` and ``xz -9`` pass, a dictionary of gigabytes does not."""

_INPUT_BYTES = 64 << 10
"""Compressed bytes handed over at a time: decoders copy what they have not used yet."""

_ZSTD_BYTES = 1 << 10
"""Compressed bytes that Zstandard gets at a time; they become 32 MiB at most, four bytes being 128 KiB of zeros."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_SIGNATURE_BYTES = 10
_BZIP2_BEGINNINGS = (b"1AY&SY", b"\x17rE8P\x90")  # of a block, and of the end of an empty stream
_ZSTD_FRAME = b"(\xb5/\xfd"
_ZSTD_SKIPPABLE = tuple(bytes((0x50 + low, 0x2A, 0x4D, 0x18)) for low in range(16))


class DecompressionError(ValueError):
    """The stream is damaged, ends early, or asks for too much memory."""


class _Decoder(Protocol):
    """What ``bz2`` and ``lzma`` share."""

    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


def is_compressed(head: bytes) -> bool:
    """Whether something that begins with `head` is a compressed stream of a kind known here."""
    return _reader_of(head) is not None


def decompressed(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The content of what comes in `blocks`, or the blocks as they are where nothing is compressed.

    Raises DecompressionError.
    """
    rest = iter(blocks)
    head = b""
    while len(head) < _SIGNATURE_BYTES and (block := next(rest, None)) is not None:
        head += block
    reader = _reader_of(head)
    whole = chain((head,), rest) if head else rest
    return whole if reader is None else reader(whole)


def _reader_of(head: bytes) -> Callable[[Iterable[bytes]], Iterator[bytes]] | None:
    if head.startswith(b"\x1f\x8b\x08"):
        return lambda blocks: _translated(blocks, _GzipDecoder)
    if head.startswith(b"BZh") and head[4:10] in _BZIP2_BEGINNINGS:
        return lambda blocks: _translated(blocks, bz2.BZ2Decompressor)
    if head.startswith(b"\xfd7zXZ\x00"):
        return lambda blocks: _translated(blocks, lambda: lzma.LZMADecompressor(memlimit=MEMORY_BYTES))
    if head.startswith((_ZSTD_FRAME, *_ZSTD_SKIPPABLE)):
        return lambda blocks: _translated(blocks, _ZstdDecoder)
    return None


class _GzipDecoder:
    """zlib's inflater with the interface of the others; verifies the checksum of its stream."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(_GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.eof and not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inflater.decompress(data or self._inflater.unconsumed_tail, max_length)


class _ZstdDecoder:
    """The same for Zstandard, whose inflater cannot be told where to stop: it gets little, and so gives little.

    Its stream reader could, but takes a frame that ends early for a whole one.
    """

    def __init__(self) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=MEMORY_BYTES)
        self._inflater = decompressor.decompressobj()
        self._rest = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.eof and not self._rest

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data + bytes(self._rest)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:  # noqa: ARG002  (there is no such bound)
        rest = memoryview(data) if data else self._rest
        piece, self._rest = rest[:_ZSTD_BYTES], rest[_ZSTD_BYTES:]
        return self._inflater.decompress(piece)


def _translated(blocks: Iterable[bytes], new: Callable[[], object]) -> Iterator[bytes]:
    try:
        yield from _streams(_pieces(blocks), cast("Callable[[], _Decoder]", new))
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as err:
        raise DecompressionError(str(err)) from err


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for block in blocks:
        for start in range(0, len(block), _INPUT_BYTES):
            yield block[start : start + _INPUT_BYTES]


def _streams(pieces: Iterable[bytes], new: Callable[[], _Decoder]) -> Iterator[bytes]:
    """The content of all streams that `pieces` have, each with a decoder of its own."""
    decoder: _Decoder | None = None
    for piece in pieces:
        data = piece
        while True:
            if decoder is None:
                data = data.lstrip(b"\0")
                if not data:
                    break
                decoder = new()
            content = decoder.decompress(data, PIECE_BYTES)
            data = b""
            if content:
                yield content
            if decoder.eof:
                data, decoder = decoder.unused_data, None
            elif decoder.needs_input:
                break
    if decoder is not None:
        raise DecompressionError("the compressed data ends early")
