"""Blocks as a file that is read once, from front to back."""

from __future__ import annotations

from collections.abc import Iterable


class ForwardStream:
    """A file that knows neither its size nor a way back; `last` is what the latest read gave.

    Raises OSError for a look back, and for more bytes of headers than were announced: content is skipped, not read.
    """

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self.last = b""
        self._blocks = iter(blocks)
        self._block = b""
        self._at = 0
        self._position = 0
        self._headers_left: int | None = None

    def begin_headers(self, most: int) -> None:
        """What is read from here on are headers, at most so many bytes."""
        self._headers_left = most

    def end_headers(self) -> None:
        """What is read from here on is content."""
        self._headers_left = None

    def tell(self) -> int:
        """How many bytes were read or skipped."""
        return self._position

    def seek(self, position: int) -> int:
        """Skip to a position ahead."""
        skipped = position - self._position
        if skipped < 0:
            raise OSError("a member begins before the end of another one")
        self._position = position
        while skipped > (rest := len(self._block) - self._at):
            skipped -= rest
            self._at = 0
            self._block = next(self._blocks, b"")
            if not self._block:
                return position
        self._at += skipped
        return position

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer only at the end."""
        if self._headers_left is not None:
            self._headers_left -= size
            if self._headers_left < 0:
                raise OSError("the header of a member is too long")
        end = self._at + size
        if end <= len(self._block):
            self.last = self._block[self._at : end]
            self._at = end
        else:
            self.last = self._gathered(size)
        self._position += len(self.last)
        return self.last

    def _gathered(self, size: int) -> bytes:
        parts = [self._block[self._at :]]
        missing = size - len(parts[0])
        self._at = 0
        while missing > 0:
            self._block = next(self._blocks, b"")
            if not self._block:
                return b"".join(parts)
            parts.append(self._block[:missing])
            self._at = len(parts[-1])
            missing -= self._at
        return b"".join(parts)
