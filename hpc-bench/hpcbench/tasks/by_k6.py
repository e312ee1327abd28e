"""k6 playing users of S3: started with the task's executor, its lines taken over into the raw data."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from hpcbench.plan import Task
from hpcbench.plan_files import read_lanes
from hpcbench.run_folder import K6_FOLDER
from hpcbench.tasks.work import Work

SCRIPT = Path(__file__).parents[1] / "k6" / "user.js"
THRESHOLDS_CROSSED = 99
_RATE_UNIT_S = 60
_MOST_VUS = 400
_STOP_POLL_S = 0.5
_QUIETLY = ("run", "--quiet", "--address", "", "--log-format", "raw")
"""No progress bar, no server of its own that a second k6 on the node would collide with, lines as they were said."""


def play(work: Work) -> None:
    """Run k6 to its end, or until the load is stopped; raises RuntimeError if it failed itself.

    Crossed thresholds are no failure of the run: the report shows them.
    """
    name = f"{work.task.index:04}"
    lanes = read_lanes(work.run, work.task)
    folder = work.run / K6_FOLDER
    folder.mkdir(exist_ok=True)
    lines = folder / f"{name}.log"
    lines.touch()
    command = [find(), *_QUIETLY, "--console-output", str(lines), str(SCRIPT)]
    with _settings(work, folder / f"{name}-work.json", lanes=len(lanes)) as settings:
        environment = {"RUN": str(work.run), "TASK": name, "WORK": str(settings), "K6_NO_USAGE_REPORT": "true"}
        with (folder / f"{name}.out").open("wb") as output:
            k6 = subprocess.Popen(
                command, env={**os.environ, **environment}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            status, carried_out = _follow(k6, lines, work)
        finally:
            k6.kill()  # whoever is ended leaves no load behind; nothing happens to one that has ended
            k6.wait()
    if carried_out < work.task.operations and not work.task.rate and not work.stopped:
        raise RuntimeError(
            f"{work.task.operations - carried_out} operations were not carried out; see {K6_FOLDER}/{name}.out"
        )
    if status not in {0, THRESHOLDS_CROSSED} and not work.stopped:
        raise RuntimeError(f"k6 ended with status {status}; it says why in {K6_FOLDER}/{name}.out")


@contextmanager
def _settings(work: Work, path: Path, *, lanes: int) -> Iterator[Path]:
    """What ``k6/user.js`` is given in a file, mode 0600: it holds keys, so it is gone when k6 has ended, however."""
    document = {
        "endpoint": work.target.s3_url,
        "region": work.target.region,
        "users": [{"access_key": user.access_key, "secret_key": user.secret_key} for user in work.target.users],
        "executor": executor(work.task, lanes),
    }
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(document, file)
        yield path
    finally:
        path.unlink(missing_ok=True)


def _follow(k6: subprocess.Popen[bytes], lines: Path, work: Work) -> tuple[int, int]:
    """Take over what k6 says until it ends; its status and the number of operations it carried out."""
    with lines.open() as told:
        status: int | None = None
        carried_out = 0
        while status is None:
            status = k6.poll()
            carried_out += _take_over(work, told)
            if status is None and work.stopped:
                k6.send_signal(signal.SIGINT)
            time.sleep(_STOP_POLL_S if status is None else 0)
    return status, carried_out


def find() -> str:
    """The program k6: the one named by K6, beside the interpreter, or on PATH."""
    beside = Path(sys.executable).with_name("k6")
    found = os.environ.get("K6") or (str(beside) if beside.exists() else shutil.which("k6"))
    if not found:
        raise RuntimeError("k6 is not installed; `make bench-setup` puts it into .venv, K6 names another place")
    return found


def executor(task: Task, lanes: int) -> dict[str, Any]:
    """The k6 scenario of a task: one user per lane, or operations that begin at a rate, whatever others do."""
    if not task.rate:
        return {"executor": "per-vu-iterations", "vus": lanes, "iterations": 1, "maxDuration": "24h"}
    per_unit = [max(1, round(per_s * _RATE_UNIT_S)) for per_s, _ in task.rate]
    return {
        "executor": "ramping-arrival-rate",
        "timeUnit": f"{_RATE_UNIT_S}s",
        "startRate": per_unit[0],
        "preAllocatedVUs": min(_MOST_VUS, max(4, per_unit[-1] // _RATE_UNIT_S + 4)),
        "maxVUs": _MOST_VUS,
        "stages": [
            {"target": target, "duration": f"{seconds:.0f}s"}
            for target, (_, seconds) in zip(per_unit, task.rate, strict=True)
        ],
    }


def _take_over(work: Work, told: TextIO) -> int:
    count = 0
    while True:
        at = told.tell()
        line = told.readline()
        if not line.endswith("\n"):
            told.seek(at)
            break
        if line.startswith("{"):
            fields = json.loads(line)
            fields.pop("k")
            work.raw.write("op", **fields, host=work.raw.host)
            count += 1
    work.raw.flush()
    return count
