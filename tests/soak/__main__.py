"""``python -m tests.soak``: the long form. Prints a table at the end; the status is 0 if nothing was lost."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.soak.report import table
from tests.soak.run import Options, Soak


def main():
    asked = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--operations", type=int, default=20_000)
    asked.add_argument("--faults", type=int, default=300)
    asked.add_argument("--repositories", type=int, default=8)
    asked.add_argument("--users", type=int, default=6)
    asked.add_argument("--pace", type=float, default=10.0, help="operations per second at most")
    asked.add_argument("--duration-limit", type=float, default=3000.0, help="seconds after which no operation begins")
    asked.add_argument("--short", action="store_true", help="every kind of fault once, as in the tests")
    asked.add_argument("--folder", type=Path, help="where it runs; kept")
    given = vars(asked.parse_args())
    folder = given.pop("folder")
    kept = folder is not None
    folder = folder or Path(tempfile.mkdtemp(prefix="soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    soak = Soak(Options(**given), folder.absolute(), lambda line: print(line, flush=True))
    result = soak.run()
    print(table(result))
    if result.faults:
        print(f"Everything is kept in {folder}: soak.log, trace.jsonl, manifests, stack/runtime/*.log")
        sys.exit(1)
    if not kept:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
