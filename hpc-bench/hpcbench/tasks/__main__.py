"""One task of a plan: measure the clock, do the work, measure the clock again, say how it ended."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hpcbench import clocks
from hpcbench.plan import REQUEST
from hpcbench.plan_files import read_plan
from hpcbench.raw import RawFile
from hpcbench.run_folder import DONE_FOLDER, GO_FILE, PROBE_FILE, TARGET_FILE
from hpcbench.target import Target
from hpcbench.tasks import archives, by_k6, readers, requests
from hpcbench.tasks.work import Work

CLOCK_EVERY_S = 30.0
GO_POLL_S = 0.2

PLAYS: Mapping[str, Callable[[Work], None]] = {
    REQUEST: requests.play,
    "archive": archives.play,
    "read": readers.play,
}
"""Who does the work of a task that k6 does not play, by its action."""


def main(run: Path, index: int) -> int:
    """Do the task; returns its exit status."""
    plan = read_plan(run)
    task = plan.tasks[index]
    raw = RawFile(run, f"task-{index:04}")
    work = Work(run, plan, task, Target.read(run / TARGET_FILE), raw)
    fault = ""
    with _clock_noted(run, raw):
        began = time.time()
        _note(work, what="began", at=began)
        try:
            _wait_for_go(work)
            play = by_k6.play if task.by_k6 else PLAYS[task.action]
            play(work)
        except Exception:  # noqa: BLE001 - whatever it was, it is told and ends this task
            fault = traceback.format_exc()
    _note(work, what="ended", at=time.time(), fault=fault)
    raw.close()
    done = run / DONE_FOLDER / f"{index:04}.json"
    done.parent.mkdir(exist_ok=True)
    done.write_text(json.dumps({"fault": fault, "seconds": time.time() - began}))
    sys.stderr.write(fault)
    return int(bool(fault))


@contextmanager
def _clock_noted(run: Path, raw: RawFile) -> Iterator[None]:
    """Compare this node's clock with the probe's before, after, and every now and then meanwhile."""
    probe = json.loads((run / PROBE_FILE).read_text())
    ended = threading.Event()

    def note() -> None:
        reading = clocks.measure(probe["address"], probe["port"])
        if reading is not None:
            raw.write("clock", host=raw.host, at=reading.at, offset=reading.offset, rtt=reading.round_trip)
            raw.flush()

    def note_until_ended() -> None:
        while not ended.wait(CLOCK_EVERY_S):
            note()

    note()
    threading.Thread(target=note_until_ended, name="clock", daemon=True).start()
    yield
    ended.set()
    note()


def _note(work: Work, *, what: str, at: float, **more: str) -> None:
    task = work.task
    job = os.environ.get("SLURM_JOB_ID", "")
    work.raw.write(
        "task", task=task.index, load=task.load, wave=task.wave, host=work.raw.host, at=at, what=what, **more, job=job
    )


def _wait_for_go(work: Work) -> None:
    """The first loads of a scenario that begins from zero wait until no function runs."""
    while work.plan.scenario.from_zero and work.task.wave == 1 and not (work.run / GO_FILE).exists():
        time.sleep(GO_POLL_S)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
