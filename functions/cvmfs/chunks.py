"""Where large files are cut: content-defined marks, the same ones the official tools set.

A rolling value over the last 32 bytes is compared with a threshold; a mark falls before the byte at which it comes
close enough to half its range. Marks decide only what deduplicates, readers accept any partition. Source:
``ingestion/chunk_detector.cc: Xor32Detector``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from functions.cvmfs.errors import FormatError

_WINDOW = 32
"""Bytes the rolling value depends on: x = XOR of b[n-i] << i for i < 32, since 32 bits hold no more."""

_RANGE = 0xFFFFFFFF
_MAGIC = 0x7FFFFFFF
_STRIDE = 1 << 16
"""Positions examined at once: the arrays of one stride stay in the cache, and are small enough (128 KiB) for the C
library to reuse their memory; with twice as many, every array is fetched anew from the kernel, page by page."""


@dataclass(frozen=True, slots=True)
class ChunkLimits:
    """Sizes of chunks in bytes, by default those of ``cvmfs_server``; a file of at most `minimum` is never cut.

    Raises FormatError unless 32 <= minimum < average < maximum < 4 GiB.
    """

    minimum: int = 4 << 20
    average: int = 8 << 20
    maximum: int = 16 << 20

    def __post_init__(self) -> None:
        if not _WINDOW <= self.minimum < self.average < self.maximum <= _RANGE:
            raise FormatError(
                f"chunk sizes {self.minimum}, {self.average}, {self.maximum} do not grow between {_WINDOW} and {_RANGE}"
            )

    @property
    def threshold(self) -> int:
        """How close to the middle of its range the rolling value must come."""
        return _RANGE // self.average


def cut_marks(data: bytes | bytearray | memoryview, limits: ChunkLimits) -> list[int]:
    """The offsets at which `data` is cut, in order; none at 0 or at its end."""
    marks = []
    start = 0
    while (cut := _next_cut(memoryview(data)[start:], limits.minimum, limits)) is not None:
        start += cut
        marks.append(start)
    return marks


def split(blocks: Iterable[bytes], limits: ChunkLimits) -> Iterator[bytearray]:
    """The chunks of a file that comes in blocks of any size: one piece if it is never cut, an empty one if it is empty.

    Each piece is the caller's; at most `maximum` bytes and one block are held besides.
    """
    pending = bytearray()
    examined = limits.minimum
    for block in blocks:
        pending += block
        while (cut := _next_cut(pending, examined, limits)) is not None:
            rest = pending[cut:]
            del pending[cut:]
            yield pending
            pending = rest
            examined = limits.minimum
        examined = max(examined, len(pending))
    yield pending


def _next_cut(data: bytearray | memoryview, start: int, limits: ChunkLimits) -> int | None:
    """The first mark in a chunk that begins with `data`, at `start` or after; None if the data ends before it."""
    end = min(len(data), limits.maximum)
    for position in range(start, end, _STRIDE):
        cut = _first_mark(data, position, min(position + _STRIDE, end), limits.threshold)
        if cut is not None:
            return cut
    return limits.maximum if len(data) > limits.maximum else None


def _first_mark(data: bytearray | memoryview, start: int, end: int, threshold: int) -> int | None:
    """The first position in [start, end) whose rolling value is below the threshold; 31 bytes before it are read.

    Only the upper 16 bits of the value are computed for every position, put together from values over 8 bytes, which
    fit in 16 bits; few positions need the whole value.
    """
    import numpy as np  # noqa: PLC0415  # most files are never cut, and the import costs as much as publishing one

    positions = end - start
    before = start - _WINDOW + 1
    over8: np.ndarray[Any, Any] = np.frombuffer(
        data, dtype=np.uint8, count=positions + _WINDOW - 1, offset=before
    ).astype(np.uint16)
    for width in (1, 2, 4):
        over8 = over8[width:] ^ (over8[:-width] << width)
    upper = over8[8 : 8 + positions] ^ (over8[:positions] << 8) ^ (over8[16 : 16 + positions] >> 8)
    lowest, highest = _MAGIC - threshold + 1 >> 16, _MAGIC + threshold - 1 >> 16
    for candidate in np.flatnonzero(upper - np.uint16(lowest) <= np.uint16(highest - lowest)):
        position = start + int(candidate)
        if abs(_rolling(data[position - _WINDOW + 1 : position + 1]) - _MAGIC) < threshold:
            return position
    return None


def _rolling(window: bytearray | memoryview) -> int:
    value = 0
    for byte in window:
        value = value << 1 ^ byte
    return value & _RANGE
