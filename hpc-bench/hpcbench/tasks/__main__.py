"""One task of a plan: measure the clock, do the work, measure the clock again, say how it ended."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
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


def main(run: Path, index: int) -> int:
    """Do the task; returns its exit status."""
    plan = read_plan(run)
    task = plan.tasks[index]
    raw = RawFile(run, f"task-{index:04}")
    work = Work(run, plan, task, Target.read(run / TARGET_FILE), raw)
    probe = json.loads((run / PROBE_FILE).read_text())
    ended = threading.Event()

    def note_clock() -> None:
        reading = clocks.measure(probe["address"], probe["port"])
        if reading is not None:
            raw.write("clock", host=raw.host, at=reading.at, offset=reading.offset, rtt=reading.round_trip)
            raw.flush()

    def note_clocks() -> None:
        while not ended.wait(CLOCK_EVERY_S):
            note_clock()

    note_clock()
    threading.Thread(target=note_clocks, name="clock", daemon=True).start()
    began = time.time()
    job = os.environ.get("SLURM_JOB_ID", "")
    raw.write("task", task=index, load=task.load, wave=task.wave, host=raw.host, at=began, what="began", job=job)
    fault = ""
    try:
        while plan.scenario.from_zero and task.wave == 1 and not (run / GO_FILE).exists():
            time.sleep(GO_POLL_S)
        if task.by_k6:
            by_k6.play(work)
        else:
            {REQUEST: requests.play, "archive": archives.play, "read": readers.play}[task.action](work)
    except Exception:  # noqa: BLE001 - whatever it was, it is told and ends this task
        fault = traceback.format_exc()
    ended.set()
    note_clock()
    raw.write(
        "task",
        task=index,
        load=task.load,
        wave=task.wave,
        host=raw.host,
        at=time.time(),
        what="ended",
        fault=fault,
        job=job,
    )
    raw.close()
    done = run / DONE_FOLDER / f"{index:04}.json"
    done.parent.mkdir(exist_ok=True)
    done.write_text(json.dumps({"fault": fault, "seconds": time.time() - began}))
    sys.stderr.write(fault)
    return int(bool(fault))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
