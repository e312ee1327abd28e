"""Percentiles and sums over time; plain Python, so that a summary can be made anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed; `values` sorted, not empty."""
    return values[max(0, math.ceil(len(values) * share) - 1)]


def spread(values: Iterable[float | None]) -> dict[str, float]:
    """How many, median, 90th, 99th percentile and the largest; nothing of nothing."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return {}
    return {
        "n": len(known),
        "p50": round(percentile(known, 0.5), 4),
        "p90": round(percentile(known, 0.9), 4),
        "p99": round(percentile(known, 0.99), 4),
        "max": round(known[-1], 4),
    }


def per_second(times: Iterable[float], start: float, end: float, bin_s: float) -> list[float]:
    """How many of `times` in each bin, as a rate; bins begin at `start`."""
    counts = [0] * max(1, math.ceil((end - start) / bin_s))
    for at in times:
        place = int((at - start) / bin_s)
        if 0 <= place < len(counts):
            counts[place] += 1
    return [count / bin_s for count in counts]
