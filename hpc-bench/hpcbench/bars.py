"""What the design promises, held against a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: `value` of a summary must be at most `most`."""

    group: str
    text: str
    most: float
    unit: str
    value: Callable[[Summary], float | None]


def _quiet(percentile: str) -> Callable[[Summary], float | None]:
    """The first upload, which finds no function running, is not among them."""
    return lambda summary: summary["quiet"].get(percentile)


BARS = (
    Bar("quiet", "PUT returned to visible, quiet, median", 0.5, "s", _quiet("p50")),
    Bar("quiet", "PUT returned to visible, quiet, 99th percentile", 2.0, "s", _quiet("p99")),
    Bar(
        "zero", "start of a function from zero, slowest", 2.0, "s", lambda summary: summary["cold_starts_s"].get("max")
    ),
    Bar("ten-thousand", "last PUT to all visible", 10.0, "s", lambda s: s["seconds"]["last_put_to_all_visible"]),
    Bar("ten-thousand", "revisions", 30, "", lambda summary: summary["counts"]["revisions"]),
    Bar(
        "burst",
        "first PUT to all visible",
        180.0,
        "s",
        lambda s: s["seconds"]["load"] + s["seconds"]["last_put_to_all_visible"],
    ),
    Bar(
        "memory", "memory of one function, largest", 200.0, "MB", lambda s: max(s["instance_mb"].values(), default=None)
    ),
    Bar("always", "lost", 0, "", lambda summary: summary["must_be_zero"]["lost"]),
    Bar("always", "duplicated", 0, "", lambda summary: summary["must_be_zero"]["duplicated"]),
    Bar("always", "wrong content, path or signature", 0, "", lambda summary: summary["must_be_zero"]["wrong"]),
    Bar("always", "late", 0, "", lambda summary: summary["must_be_zero"]["late"]),
)


def judged(summary: Summary, groups: Iterable[str]) -> list[dict[str, Any]]:
    """The bars of some groups, and those that always hold, each with its value and whether it is met."""
    wanted = {*groups, "always"}
    found = []
    for bar in BARS:
        if bar.group in wanted:
            value = bar.value(summary)
            met = value is not None and value <= bar.most
            found.append({"text": bar.text, "most": bar.most, "unit": bar.unit, "value": value, "met": met})
    return found
