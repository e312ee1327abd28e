"""What can go wrong in a run, with the next step."""

from __future__ import annotations


class BenchError(Exception):
    """A run cannot go on: what is wrong, and `hint`, what to do about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
