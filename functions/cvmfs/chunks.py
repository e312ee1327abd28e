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
_STRIDE = 1 << 17
"""Positions examined at once: the arrays of one stride stay in the second-level cache."""


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


def split(blocks: Iterable[bytes], limits: ChunkLimits) -> Iterator[bytes]:
    """The chunks of a file that comes in blocks of any size: one piece if it is never cut, ``b""`` if it is empty.

    Holds at most `maximum` bytes and one block, besides the piece it has handed out.
    """
    pending = bytearray()
    examined = limits.minimum
    for block in blocks:
        pending += block
        while (cut := _next_cut(pending, examined, limits)) is not None:
            yield bytes(memoryview(pending)[:cut])
            del pending[:cut]
            examined = limits.minimum
        examined = max(examined, len(pending))
    yield bytes(pending)


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

    The value over 32 bytes is doubled up from values over 1, 2, 4, 8 and 16 bytes; up to 8 bytes fit in 16 bits.
    """
    import numpy as np  # noqa: PLC0415  # most files are never cut, and the import costs as much as publishing one

    value = np.frombuffer(data, dtype=np.uint8, count=end - start + _WINDOW - 1, offset=start - _WINDOW + 1)
    rolling: np.ndarray[Any, Any] = value.astype(np.uint16)
    for width in (1, 2, 4, 8, 16):
        if width == 8:
            rolling = rolling.astype(np.uint32)
        rolling = rolling[width:] ^ (rolling[:-width] << width)
    # |x - MAGIC| < threshold, as one comparison modulo 2^32
    near = rolling - np.uint32(_MAGIC - threshold + 1) <= np.uint32(2 * threshold - 2)
    first = int(near.argmax())
    return start + first if near[first] else None
