"""What an operation uploads: made from its number alone, so that a reader can tell right from wrong without a copy."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
from functools import cache

BASE_BYTES = 1 << 18
HEADER_BYTES = 16
"""The number of the operation in 15 digits and a line end: no two uploads have the same content."""

STRIDE = 7919
_TIME = 1_700_000_000


@cache
def base_text(seed: int) -> str:
    """ASCII text that compresses about as well as program sources (to a third)."""
    dice = random.Random(seed)
    letters = "etaoinsrhldcumfpgwybvkxjqz_"
    words = ["".join(dice.choices(letters, range(27, 0, -1), k=dice.randint(2, 9))) for _ in range(600)]
    lines: list[str] = []
    size = 0
    while size < BASE_BYTES:
        picked = dice.choices(words, [1 / (rank + 2) for rank in range(len(words))], k=dice.randint(2, 8))
        lines.append(" " * dice.choice((0, 4, 8)) + dice.choice(" ( = . ,").join(picked) + "\n")
        size += len(lines[-1])
    return "".join(lines)[:BASE_BYTES]


def content(number: int, size: int, base: str) -> bytes:
    """The content of an operation, `size` bytes, at least HEADER_BYTES; ``k6/user.js`` makes the same."""
    body = max(0, size - HEADER_BYTES)
    offset = number * STRIDE % len(base)
    text = base[offset : offset + body]
    if len(text) < body:
        text = (text + base * (body // len(base) + 1))[:body]
    return f"{number:015d}\n{text}".encode("ascii")


def members(number: int, count: int, size: int, base: str) -> dict[str, bytes]:
    """The files of an archive by path below its own folder."""
    first = (number + 1) * 1_000_000
    return {f"part{index // 100:03}/m{index:06}.py": content(first + index, size, base) for index in range(count)}


def archive(number: int, count: int, size: int, base: str) -> bytes:
    """A ``.tar`` of `count` files of `size` bytes, the same bytes every time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, body in members(number, count, size, base).items():
            member = tarfile.TarInfo(path)
            member.size, member.mtime, member.mode = len(body), _TIME, 0o644
            tar.addfile(member, io.BytesIO(body))
    return packed.getvalue()


def digest(body: bytes) -> str:
    """SHA-256 in hex, as the raw data have it."""
    return hashlib.sha256(body).hexdigest()
