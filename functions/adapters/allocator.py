"""What the C library does with the memory of large buffers."""

from __future__ import annotations

import ctypes

LARGE_BYTES = 2 << 20
"""Buffers from this size on come from the kernel and go back to it; the blocks in which files are read are smaller."""

KEPT_BYTES = 8 << 20
"""Free memory at the end of a heap from which on it goes back."""

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
"""``malloc.h``: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD."""


def give_back_large_buffers() -> None:
    """Keep no memory of chunks that are done; for the whole process, and nothing where there is no ``mallopt``.

    Left alone, glibc raises its limits to the largest buffer it has seen, and each thread keeps a heap of them.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, LARGE_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
