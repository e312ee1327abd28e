"""The summary of a soak, as a table of text."""

from __future__ import annotations


def table(result):
    """Seed, figures, faults by kind, and what is wrong."""
    rows = [("seed", result.options.seed), *result.figures.items()]
    rows.append(("faults injected", sum(result.injected.values())))
    rows += [
        (f"  {name}", f"{count} ({result.effect.get(name, 0)} touched)") for name, count in result.injected.items()
    ]
    rows.append(("losses and other faults", len(result.faults)))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}" for name, value in rows]
    return "\n".join(["", *lines, *(f"  {fault}" for fault in result.faults[:50])])
