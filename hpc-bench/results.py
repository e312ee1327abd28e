"""Every committed result again: one run and one report for each, then the model fitted to them.

python hpc-bench/results.py [SCENARIO ...]
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent
RESULTS = BENCH / "results"

RUNS = {
    "single-user": 1.0,
    "ten-thousand": 1.0,
    "burst-1000": 1.0,
    "nightly-build": 1.0,
    "archives": 1.0,
    "churn": 1.0,
    "readers": 1.0,
    "ramp": 1.0,
    "mixed-soak": 0.005,
}
"""Scenarios and scales; the first three carry the bars of the design, the last is seven minutes of a day."""


def main() -> int:
    """Run what was asked for, or all; the number of runs that found something lost, doubled or wrong."""
    wanted = sys.argv[1:] or list(RUNS)
    failed = 0
    for name in wanted:
        others = [str(path) for path in sorted(RESULTS.glob("*/summary.json")) if path.parent.name != name]
        compare = ["--compare", *others] if others else []
        failed += _bench("run", name, "--scale", f"{RUNS[name]:g}", "--out", str(RESULTS / name), *compare)
    _bench("model", *map(str, sorted(RESULTS.glob("*/summary.json"))))
    return failed


def _bench(*arguments: str) -> int:
    print(shlex.join(["run.py", *arguments[:4]]), flush=True)
    return int(subprocess.run([sys.executable, str(BENCH / "run.py"), *arguments], check=False).returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
