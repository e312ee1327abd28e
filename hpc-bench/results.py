"""Make the committed results again: one run and one report for each scenario, then the model fitted to all of them.

Needs a machine with nothing else to do. Ends with 1 if a run found something lost, duplicated, wrong or not read back,
or did not come to its end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

BENCH = Path(__file__).parent
RESULTS = BENCH / "results"
SITE = "laptop"

SCALES = {
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
"""Scenarios in the order they are run; the first three carry the bars of the design, the last is seven minutes of a
day."""


def main() -> int:
    """Run what was asked for, or all."""
    chosen = list(dict.fromkeys(_arguments().scenarios)) or list(SCALES)
    failed = []
    for number, name in enumerate(chosen, start=1):
        _say(f"{number} of {len(chosen)}: {name} at scale {SCALES[name]:g}")
        began = time.monotonic()
        met = _bench("run", name, *_options(name))
        _say(f"{name} took {time.monotonic() - began:.0f} s" + ("" if met else " and FAILED, see above"))
        failed += [] if met else [name]
    _say("the model")
    if not _bench("model", *_summaries()):
        failed.append("the model")
    _say(f"failed: {', '.join(failed)}" if failed else f"all is in {RESULTS}")
    return int(bool(failed))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "scenarios",
        metavar="SCENARIO",
        nargs="*",
        type=_scenario,
        help=f"run these only: {', '.join(SCALES)}; default: all, which takes three quarters of an hour",
    )
    return parser.parse_args()


def _scenario(name: str) -> str:
    """A name that there is a scale for; `choices` would refuse the empty list that stands for all."""
    if name not in SCALES:
        raise argparse.ArgumentTypeError(f"there is no result of {name!r}; choose from {', '.join(SCALES)}")
    return name


def _options(name: str) -> list[str]:
    """Scale and place of a result, and the results of the other scenarios to show beside it."""
    others = [path for path in _summaries() if Path(path).parent.name != name]
    compare = ["--compare", *others] if others else []
    return ["--scale", f"{SCALES[name]:g}", "--site", SITE, "--out", str(RESULTS / name), *compare]


def _summaries() -> list[str]:
    return [str(path) for path in sorted(RESULTS.glob("*/summary.json"))]


def _bench(*arguments: str) -> bool:
    return subprocess.run([sys.executable, str(BENCH / "run.py"), *arguments], check=False).returncode == 0


def _say(line: str) -> None:
    print(f"results: {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
