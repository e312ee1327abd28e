"""Which change records still hold: a second look at every touched object, just before a revision is written.

A record says what somebody saw some time ago. It counts only if the object is the same now (etag, and not written
since) or is still absent; anything else is left to its own later event. So records may come twice, late or out of
order, and a stale one can never bring a deleted file back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import takewhile

from events.change import ChangeRecord, Withheld
from functions.errors import StoreForbids
from functions.ports import ObjectInfo, ObjectSource
from functions.publishing.rules import Rules

USUAL_RULES = Rules()

HEAD_AT_MOST = 64
"""Up to this many keys are asked one by one, side by side; more are read from a listing."""

_LISTED_PER_KEY = 10
"""How many listed objects a wanted key may cost before asking one by one is cheaper."""


def look_again(
    source: ObjectSource, executor: Executor, records: Sequence[ChangeRecord]
) -> dict[str, ObjectInfo | None]:
    """Every touched key as it is now. All records are of one bucket."""
    keys = sorted({record.key for record in records})
    if not keys:
        return {}
    bucket = records[0].bucket
    seen: dict[str, ObjectInfo | None] = {}
    if len(keys) > HEAD_AT_MOST:
        wanted = set(keys)
        before = keys[0][:-1]  # nothing that is wanted comes before it, or is it
        for count, info in enumerate(source.list(bucket, _common_prefix(keys), after=before)):
            if info.key in wanted:
                seen[info.key] = info
            if info.key >= keys[-1] or count >= _LISTED_PER_KEY * len(keys):
                keys_left_from = info.key
                break
        else:
            keys_left_from = keys[-1]
        seen |= {key: None for key in keys if key <= keys_left_from and key not in seen}
        keys = [key for key in keys if key not in seen]
    seen |= zip(keys, executor.map(lambda key: _one(source, bucket, key), keys), strict=True)
    return seen


def _one(source: ObjectSource, bucket: str, key: str) -> ObjectInfo | None:
    """An object as it is now; one that may not be read must not hold up all others."""
    try:
        return source.head(bucket, key)
    except StoreForbids:
        return as_listed(source, bucket, key)


def as_listed(source: ObjectSource, bucket: str, key: str) -> ObjectInfo | None:
    """What a listing says of an object, which needs no right to read it; None if it is not there."""
    first = next(source.list(bucket, key), None)
    return first if first is not None and first.key == key else None


def _common_prefix(keys: Sequence[str]) -> str:
    """The characters that all of some sorted keys begin with; the first and the last differ the most."""
    pairs = zip(keys[0], keys[-1], strict=False)
    return "".join(first for first, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


@dataclass(frozen=True, slots=True)
class Selection:
    """The records to apply, and the keys of which nothing is known that counts now: they have to be looked at again."""

    records: list[ChangeRecord]
    stale: frozenset[str]


def current_records(
    records: Iterable[ChangeRecord], now: Mapping[str, ObjectInfo | None], rules: Rules = USUAL_RULES
) -> Selection:
    """The records that describe what is there now, the latest one per key, in the order their keys were first seen.

    What was taken in by other rules than those of now does not count, and what these exclude is to go.
    """
    latest: dict[str, ChangeRecord] = {}
    stale: set[str] = set()
    for record in records:
        info = now[record.key]
        if info is None:
            if record.removed:
                latest[record.key] = record.model_copy(update={"withheld": None})
        elif rules.excludes(record.key):
            latest[record.key] = record.model_copy(update={"entry": None, "tree": None, "withheld": Withheld.EXCLUDED})
        elif _is_of(record, info):
            if record.withheld is not Withheld.EXCLUDED and record.rules == rules.mark:
                latest[record.key] = record
            else:
                stale.add(record.key)
    return Selection(list(latest.values()), frozenset(stale - latest.keys()))


def _is_of(record: ChangeRecord, info: ObjectInfo) -> bool:
    """Whether a record tells of this very version of an object that is there."""
    is_there = not record.removed or record.withheld is not None
    return is_there and info.etag == record.etag and int(info.modified.timestamp()) <= record.modified
