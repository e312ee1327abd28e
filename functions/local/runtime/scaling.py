"""How many instances a Service should have: the decisions of the autoscaler, without the instances.

Knative averages concurrency over a window and aims at 70 % of the target; here demand counts at once and in full, since
what costs on one machine is the process, not the wait for the next tick.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_PAUSE_S = 10.0
_FIRST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Scale:
    """The limits of one Service; `concurrency` 0 and `most` 0 are unlimited, times in seconds.

    An instance is stopped after `idle_s` without a request, the last one `retention_s` later.
    """

    concurrency: int
    least: int
    most: int
    idle_s: float
    retention_s: float

    def wanted(self, demand: int) -> int:
        """Instances for `demand` requests that run or wait."""
        needed = math.ceil(demand / self.concurrency) if self.concurrency else min(demand, 1)
        return max(self.least, min(needed, self.most) if self.most else needed)

    def takes(self, in_flight: int) -> bool:
        """Whether an instance with so many requests takes one more."""
        return not self.concurrency or in_flight < self.concurrency

    def surplus(self, idle_since: Sequence[float], *, instances: int, now: float) -> int:
        """How many of the idle instances go now, the longest idle first; `idle_since` is in ascending order."""
        going = 0
        for since in idle_since:
            left = instances - going
            if left <= self.least or now - since < self.idle_s + (self.retention_s if left == 1 else 0.0):
                break
            going += 1
        return going


def pause_s(failures: int) -> float:
    """Seconds to wait after so many failed starts in a row."""
    return min(_FIRST_PAUSE_S * 2.0 ** (failures - 1), LONGEST_PAUSE_S) if failures else 0.0
