"""What a plan comes to, in numbers that one wants to know before anything runs: tasks, time, operations, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby

from hpcbench.plan import Operation, Plan, Task
from hpcbench.planning import lanes_by_task

_GIVES = frozenset({"put", "multipart", "archive"})
"""Kinds of operations that bring bytes; what a deletion has as its size is never sent."""


def outlook(plan: Plan) -> Iterator[str]:
    """Lines to print: one for each load, then all together. A load without a pace goes as fast as it is answered."""
    loads: list[tuple[Task, list[Operation]]] = [
        (task, [operation for lane in lanes for operation in lane]) for task, lanes in lanes_by_task(plan)
    ]
    scenario = plan.scenario
    yield f"{scenario.name} at scale {scenario.scale:g}: {scenario.title}"
    yield f"{'wave':>4}  {'load':<14}{'action':<11}{'tasks':>5}{'operations':>12}{'uploaded':>12}  pace"
    requests = plan.waves[0]
    yield _row(requests, operations=len(plan.repositories), uploaded=0)
    for _, of_load in groupby(loads, key=lambda each: (each[0].wave, each[0].load)):
        tasks, made = zip(*of_load, strict=True)
        uploaded = sum(_bytes(task, operations) for task, operations in zip(tasks, made, strict=True))
        yield _row(tasks, operations=sum(map(len, made)), uploaded=uploaded)
    yield from _together(plan, loads)


def _row(tasks: Sequence[Task], *, operations: int, uploaded: int) -> str:
    first = tasks[0]
    size = _size(uploaded) if uploaded else ""
    return (
        f"{first.wave:>4}  {first.load:<14}{first.action:<11}{len(tasks):>5}{operations:>12,}{size:>12}  {_pace(tasks)}"
    )


def _pace(tasks: Sequence[Task]) -> str:
    """Of all tasks of a load together."""
    first = tasks[0]
    if first.rate:
        return " then ".join(f"{per_s * len(tasks):g}/s for {seconds:g} s" for per_s, seconds in first.rate)
    return f"{first.at_once * len(tasks)} at once" + (f" for {first.seconds:g} s" if first.seconds else "")


def _together(plan: Plan, loads: Sequence[tuple[Task, Sequence[Operation]]]) -> Iterator[str]:
    kinds = Counter(operation.kind for _, operations in loads for operation in operations)
    last = {(operation.bucket, operation.key): operation for _, operations in loads for operation in operations}
    # The last operation on a key is the one with the highest number; tasks come in the order of their waves, and no two
    # tasks of one wave share a key.
    left = sum(operation.kind in _GIVES for operation in last.values())
    uploaded = sum(_bytes(task, operations) for task, operations in loads)
    busiest = max(map(len, plan.waves))
    yield f"repositories   {len(plan.repositories):,}, each with a bucket of its own"
    yield f"operations     {', '.join(f'{count:,} {kind}' for kind, count in sorted(kinds.items())) or 'none'}"
    yield f"uploaded       {_size(uploaded)}; in the end {left:,} objects are there"
    yield f"tasks          {len(plan.tasks):,} in {len(plan.waves)} waves, at most {busiest:,} at once"
    least_s = _least_s(plan)
    load = f"{least_s:,.0f} s at least" if least_s else "as long as the service makes clients wait"
    yield f"time           {load}, then {plan.scenario.settle_s:g} s at most until all is visible"


def _least_s(plan: Plan) -> float:
    """Seconds of the loads that have a pace of their own; how long the others take is what is measured."""
    return sum(max(max(task.seconds, sum(s for _, s in task.rate)) for task in wave) for wave in plan.waves)


def _bytes(task: Task, operations: Sequence[Operation]) -> int:
    return sum(each.size for each in operations if each.kind in _GIVES) * max(1, task.members)


def _size(count: float) -> str:
    """Decimal, as disks and networks count: 1 kB is 1,000 bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
