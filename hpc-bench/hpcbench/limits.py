"""What held a run back, in a few sentences made from its numbers."""

from __future__ import annotations

from typing import Any

BUSY = 0.85
"""Above this share of the machine's CPU, more work only waits longer."""

_PACE_S = 2.0

_WAITS = {
    "notified": "for RadosGW's notification",
    "stored": "until its content is stored",
    "visible": "from there to the signed revision",
}


def what_limited(summary: dict[str, Any]) -> list[str]:
    """Sentences, the most important first."""
    said: list[str] = []
    machine, stages = summary["machine"], summary["stages"]
    cpu = {name: seconds for name, seconds in summary["cpu_s"].items() if seconds > 0}
    total = sum(cpu.values())
    if machine:
        largest = ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in list(cpu.items())[:4]) if total else ""
        if machine["busy"] >= BUSY:
            said.append(
                f"The processor: {machine['busy']:.0%} of the machine was busy from first PUT to all visible. "
                f"Of what this run used: {largest}."
            )
        else:
            said.append(
                f"Not the processor: {machine['busy']:.0%} of the machine was busy. Of what this run used: {largest}."
            )
        if machine["others"] > 0.1:
            said.append(
                f"Others used {machine['others']:.0%} of the machine meanwhile, so these figures are an upper bound."
            )
    if summary["waits"]:
        parts = [f"{seconds:.2f} s {_WAITS[name]}" for name, seconds in summary["waits"].items()]
        said.append(f"Where an upload waits (medians): {', '.join(parts)}.")
    queued = {name: count for name, count in summary["most_queued"].items() if name != "all queues" and count > 10}
    if queued:
        name, count = max(queued.items(), key=lambda item: item[1])
        said.append(f"The longest queue of a function was {name}: {count} messages.")
    if (
        stages["visible"]
        and stages["visible"]["p50"] > _PACE_S / 2
        and not queued
        and machine
        and machine["busy"] < BUSY
    ):
        said.append("What is left is the pace: under load a repository gets at most one revision every two seconds.")
    return said
