"""Differences as work for the function that handles uploads: notifications that ask for another look at some keys."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from events import ChangeRecord, notification_about
from functions.ports import ObjectInfo
from functions.publishing.comparison import Difference

MOST = 25
MOST_BYTES = 32 << 20
"""Objects, and bytes of them, that one message asks to look at: what an instance does in seconds."""


def notifications(bucket: str, differences: Iterable[Difference], now: datetime) -> list[bytes]:
    """Messages that together ask to look at every key that a look makes good."""
    looks = (difference for difference in differences if not difference.is_elsewhere)
    return [notification_about(bucket, portion, now) for portion in _portions(looks)]


def removals(bucket: str, differences: Sequence[Difference], found: Sequence[ObjectInfo | None]) -> list[ChangeRecord]:
    """The removals of entries to which no look at their key leads, of those objects that are not `found` any more."""
    return [
        ChangeRecord(bucket=bucket, key=difference.key, path=difference.path)
        for difference, info in zip(differences, found, strict=True)
        if info is None
    ]


def _portions(differences: Iterable[Difference]) -> Iterator[list[tuple[str, str, int]]]:
    """Key, etag and size of some differences at a time; a large object is alone."""
    portion: list[tuple[str, str, int]] = []
    room = MOST_BYTES
    for difference in differences:
        info = difference.info
        size = 0 if info is None else info.size
        if portion and (len(portion) >= MOST or size > room):
            yield portion
            portion, room = [], MOST_BYTES
        portion.append((difference.key, "" if info is None else info.etag, size))
        room -= size
    if portion:
        yield portion
