"""The polling design on the same load: what users of the existing service would have waited.

A model, and a kind one. One loop looks at every known repository, one after the other, and publishes what it finds
there; then it sleeps for a minute. Looking costs nothing. A publish takes 0.75 s and 3.8 s for every 10,000 files, as
measured with ``cvmfs_server`` on a machine like this one. Half an hour passes until a new repository is noticed at all:
that is left out here, since a run creates its repositories just before it uses them; `notice_s` brings it back.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from hpcbench.analysis import Run
from hpcbench.numbers import spread

POLL_S = 60.0
PUBLISH_S = 0.75
PER_FILE_S = 3.8 / 10_000
NOTICE_S = 1800.0
PHASES = 20
"""The loop is tried with so many different beginnings, since nobody knows when it slept last."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An upload whose PUT returned at `at`, of so many files."""

    fqrn: str
    at: float
    files: int = 1


def polling(
    arrivals: Iterable[Arrival], *, phase_s: float, created: dict[str, float] | None = None, notice_s: float = 0.0
) -> list[float]:
    """When each upload becomes visible, in the order given; the first look is `phase_s` after the first of them.

    With `created`, a repository is looked at only from `notice_s` seconds after its creation on.
    """
    wanted = list(arrivals)
    if not wanted:
        return []
    waiting: dict[str, list[int]] = defaultdict(list)
    for number in sorted(range(len(wanted)), key=lambda number: wanted[number].at):
        waiting[wanted[number].fqrn].append(number)
    known_from = {fqrn: (created or {}).get(fqrn, float("-inf")) + notice_s for fqrn in waiting}
    visible = [0.0] * len(wanted)
    now = min(arrival.at for arrival in wanted) + phase_s
    while waiting:
        for fqrn in sorted(waiting):
            if known_from[fqrn] > now:
                continue
            found = [number for number in waiting[fqrn] if wanted[number].at <= now]
            if not found:
                continue
            now += PUBLISH_S + PER_FILE_S * sum(wanted[number].files for number in found)
            for number in found:
                visible[number] = now
            waiting[fqrn] = waiting[fqrn][len(found) :]
            if not waiting[fqrn]:
                del waiting[fqrn]
        now += POLL_S
    return visible


def baseline_summary(run: Run) -> dict[str, Any]:
    """As a summary of a run, as far as the model goes; every beginning of the loop counts the same."""
    arrivals = [Arrival(each.fqrn, each.end, each.files) for each in run.puts]
    dice = random.Random(1)
    waits: list[float] = []
    last: list[float] = []
    for _ in range(PHASES if arrivals else 0):
        seen = polling(arrivals, phase_s=dice.uniform(0, POLL_S))
        waits += [at - arrival.at for at, arrival in zip(seen, arrivals, strict=True)]
        last.append(max(seen) - max(arrival.at for arrival in arrivals))
    return {
        "scenario": f"polling, {run.plan.scenario.name}",
        "scale": run.plan.scenario.scale,
        "stages": {"visible": spread(waits)},
        "seconds": {"last_put_to_all_visible": round(sum(last) / len(last), 2) if last else 0.0},
    }
