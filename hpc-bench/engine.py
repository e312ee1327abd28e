"""How fast the engine publishes into a folder: no servers, medians of several runs, a table and a JSON file.

Usage: ``.venv/bin/python hpc-bench/engine.py [--runs 5] [--all] [--only NAME]``; README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from enginebench.measure import Result
from enginebench.scenarios import LONG, SCENARIOS, Bench

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=5, help="how often each thing is done; default: 5")
    parser.add_argument("--all", action="store_true", help=f"also what takes long: {', '.join(sorted(LONG))}")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="this scenario; can be given several times")
    parser.add_argument("--output", type=Path, help="the file for the result; default: results/engine-TIME.json")
    options = parser.parse_args()
    chosen = options.only or [name for name in SCENARIOS if options.all or name not in LONG]
    results = []
    with _scratch() as folder:
        bench = Bench(folder, options.runs)
        for name in chosen:
            for result in SCENARIOS[name](bench):
                results.append(result)
                print(_line(result), flush=True)
    output = options.output or RESULTS / f"engine-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(_report(results), indent=1) + "\n")
    print(f"\nWritten to {output}")


def _report(results: list[Result]) -> dict[str, object]:
    return {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": [asdict(result) for result in results],
    }


def _line(result: Result) -> str:
    median, goal = result.median, result.goal
    cells = (
        (f"{median.wall_s:8.3f} s", goal.wall_s, "{:.2f}", median.wall_s),
        (f"{median.cpu_s:8.3f} CPU s", goal.cpu_s, "{:.1f}", median.cpu_s),
        (f"{median.peak_mb:6.0f} MB", goal.peak_mb, "{:.0f}", median.peak_mb),
    )
    shown = [
        text
        + (f" ({'goal' if value <= limit else 'MISSED'} {form.format(limit)})" if limit is not None else "").ljust(14)
        for text, limit, form, value in cells
    ]
    return f"{result.what:<62}{''.join(shown)}".rstrip()


@contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="cvmfs-cloud-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
