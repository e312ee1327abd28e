"""Tasks as processes of this machine, wave after wave: ``python -m hpcbench.laptop RUN``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from hpcbench.plan import Task
from hpcbench.plan_files import read_plan
from hpcbench.run_folder import LOG_FOLDER


def main(run: Path) -> None:
    """Run all waves; a task that fails does not keep others from running."""
    running: list[subprocess.Popen[bytes]] = []

    def end(*_: object) -> None:
        for process in running:
            process.terminate()
        sys.exit(1)

    signal.signal(signal.SIGTERM, end)
    for wave in read_plan(run).waves:
        running[:] = [_start(run, task) for task in wave]
        for process in running:
            process.wait()


def _start(run: Path, task: Task) -> subprocess.Popen[bytes]:
    log = run / LOG_FOLDER / f"task-{task.index:04}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "hpcbench.tasks", str(run), str(task.index)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
