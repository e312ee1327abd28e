"""What one upload and one revision cost each component, in CPU seconds: fitted to measured runs.

CPU seconds are what a busy machine distorts least: waiting for a core costs none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Summary = dict[str, Any]

PARTS = (
    "RadosGW",
    "Ceph OSD",
    "RabbitMQ",
    "OpenBao",
    "event source and autoscaler",
    "function handle_bucket_notification",
    "function publish_transaction",
)
"""Components whose work grows with the load."""


@dataclass(frozen=True, slots=True)
class Demand:
    """CPU seconds of one component for each upload (or deletion), each revision, and each second of doing nothing."""

    per_upload: float
    per_revision: float
    per_second: float

    def cpu_s(self, uploads: float, revisions: float, seconds: float) -> float:
        """The CPU seconds of a whole run."""
        return uploads * self.per_upload + revisions * self.per_revision + seconds * self.per_second


Demands = dict[str, Demand]


def usable(summary: Summary) -> bool:
    """Whether a run says something of uploads alone: no archives, no extra readers, and processes sampled."""
    counts = summary["counts"]
    plain = counts["files"] <= counts["uploads"] and not counts["read_by_clients"]
    return plain and bool(summary["cpu_s"]) and counts["revisions"] > 0


def causes(summary: Summary) -> tuple[float, float, float]:
    """Uploads and deletions, revisions, and seconds of a run: what its CPU seconds are explained with."""
    counts, seconds = summary["counts"], summary["seconds"]
    return (
        counts["uploads"] + counts["deletions"],
        counts["revisions"],
        seconds["load"] + seconds["last_put_to_all_visible"],
    )


def fit(summaries: Sequence[Summary]) -> Demands:
    """The demands that explain the runs best, none below zero; every run counts the same, however long.

    Raises ValueError without at least two runs.
    """
    if len(summaries) < 2:
        raise ValueError("two runs at least are needed to tell uploads from revisions")
    matrix = np.array([causes(summary) for summary in summaries], dtype=float)
    found = {}
    for part in PARTS:
        spent = np.array([summary["cpu_s"].get(part, 0.0) for summary in summaries])
        weight = 1.0 / np.maximum(spent, 0.05)
        solution = _not_negative(matrix * weight[:, None], spent * weight)
        found[part] = Demand(*(float(value) for value in solution))
    return found


def errors(train: Sequence[Summary], test: Sequence[Summary]) -> list[float]:
    """For each test run, how far the predicted CPU seconds of the whole service are off, as a share of the measured."""
    demands = fit(train)
    found = []
    for summary in test:
        measured = sum(summary["cpu_s"].get(part, 0.0) for part in PARTS)
        predicted = sum(demand.cpu_s(*causes(summary)) for demand in demands.values())
        found.append(predicted / measured - 1.0)
    return found


def leave_one_out(summaries: Sequence[Summary]) -> dict[str, float]:
    """For each run, the error of a prediction from all the others; needs three runs."""
    return {
        f"{summary['scenario']} at scale {summary['scale']:g}": round(
            errors([other for other in summaries if other is not summary], [summary])[0], 3
        )
        for summary in summaries
        if len(summaries) > 2
    }


def _not_negative(matrix: Any, wanted: Any) -> Any:
    """Least squares with no negative value: the best of all choices of columns, of which there are few."""
    columns = matrix.shape[1]
    best, best_rest = np.zeros(columns), float("inf")
    for choice in range(1, 1 << columns):
        chosen = [column for column in range(columns) if choice >> column & 1]
        solution = np.linalg.lstsq(matrix[:, chosen], wanted, rcond=None)[0]
        rest = float(np.sum((matrix[:, chosen] @ solution - wanted) ** 2))
        if (solution >= 0).all() and rest < best_rest - 1e-12:
            best, best_rest = np.zeros(columns), rest
            best[chosen] = solution
    return best
