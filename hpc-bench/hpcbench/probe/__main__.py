"""The probe: ``python -m hpcbench.probe RUN ADDRESS``, until the file ``finish`` appears and all is read back."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from hpcbench.clocks import ClockServer
from hpcbench.paths import path_of
from hpcbench.plan_files import read_plan
from hpcbench.probe.machine import Machine
from hpcbench.probe.queues import Queues
from hpcbench.probe.revisions import Revisions
from hpcbench.probe.stored import note_store_clock, note_stored
from hpcbench.probe.tap import Tap
from hpcbench.raw import RawFile
from hpcbench.run_folder import FINISH_FILE, FINISHED_FILE, PROBE_FILE, PROBE_STATE_FILE, STOP_FILE, TARGET_FILE
from hpcbench.s3 import S3Client, S3Error
from hpcbench.target import Target

_EVERY_S = 0.5
_POLL_AFTER_S = 2.0


class Probe:
    """Listens, looks, and keeps count of what is on its way."""

    def __init__(self, run: Path, address: str) -> None:
        self._run = run
        plan = read_plan(run)
        self._target = Target.read(run / TARGET_FILE)
        self._domain = self._target.domain
        self._stop_after_s = plan.scenario.stop_after_s
        self._raw = RawFile(run, "probe")
        self._waiting: dict[tuple[str, str], tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._visible = 0
        self._notified = 0
        self._revisions = Revisions(
            self._target.repository_url,
            self._raw,
            appeared=self._appeared,
            read_at_once=plan.scenario.read_at_once,
        )
        self._clock = ClockServer(address)
        self._tap = Tap(self._target.amqp_url, self._raw, self._heard)
        self._samplers: list[Machine | Queues] = [Queues(self._target.amqp_url, self._target.management_url, self._raw)]
        if self._target.local_pid:  # how busy this machine is says nothing of a service elsewhere
            self._samplers.append(Machine(run, self._raw, stack=self._target.local_pid))
        self._tap.start()
        for sampler in self._samplers:
            sampler.start()
        self._raw.write("clock", host=self._raw.host, at=time.time(), offset=0.0, rtt=0.0)
        where = {"address": address, "port": self._clock.port, "pid": os.getpid()}
        (run / PROBE_FILE).write_text(json.dumps(where))

    def watch(self) -> None:
        """Until the run is to finish."""
        while not (self._run / FINISH_FILE).exists():
            time.sleep(_EVERY_S)
            now = time.time()
            with self._lock:
                waiting = dict(self._waiting)
            for fqrn in {fqrn for (fqrn, _), (_, at) in waiting.items() if now - at > _POLL_AFTER_S}:
                self._revisions.look(fqrn, now)
            oldest = max((now - at for _, at in waiting.values()), default=0.0)
            if self._stop_after_s and oldest > self._stop_after_s:
                (self._run / STOP_FILE).touch()
            self._tell(len(waiting), oldest)
            self._raw.flush()

    def finish(self) -> None:
        """Read everything back, list what is stored, and stop."""
        self._catch_up()
        self._tap.stop()
        for sampler in self._samplers:
            sampler.stop()
        if self._target.reader is not None:
            self._note_stored(self._target.s3(self._target.reader))
        for fqrn in self._revisions.repositories():
            count = self._revisions.read_everything(fqrn)
            self._raw.write("read_back", fqrn=fqrn, files=count, at=time.time())
        self._raw.close()
        self._clock.close()
        (self._run / FINISHED_FILE).touch()

    def _catch_up(self) -> None:
        """Fetch every repository's newest revision, whether or not it was heard of."""
        for fqrn in self._revisions.repositories():
            self._revisions.look(fqrn, time.time())
        time.sleep(1.0)
        while self._revisions.busy():
            time.sleep(_EVERY_S)

    def _note_stored(self, s3: S3Client) -> None:
        """What may not be listed is not known of the run, but is no reason to lose the rest of it."""
        bucket = self._target.repository_bucket
        note_store_clock(s3, bucket, self._raw)
        try:
            for fqrn in self._revisions.repositories():
                note_stored(s3, bucket, fqrn, self._raw)
        except S3Error as err:
            print(f"nothing more is known of when objects were stored: {err}", file=sys.stderr)

    def _heard(self, exchange: str, message: dict[str, Any], at: float) -> None:
        if exchange == "cvmfs":
            if message["type"] == "repository.created":
                self._revisions.learn(message["repository"], message["public_key"])
            elif message["type"] == "repository.published":
                self._revisions.look(message["repository"], at)
            return
        if message["event"].startswith("ObjectCreated"):
            place = f"{message['bucket']}.{self._domain}", path_of(message["key"])
            with self._lock:
                self._notified += 1
                self._waiting[place] = (message["etag"], at)

    def _appeared(self, fqrn: str, path: str, etag: str | None) -> None:
        with self._lock:
            if etag is not None:
                self._visible += 1
            waiting = self._waiting.get((fqrn, path))
            if waiting is not None and etag in {None, waiting[0]}:
                del self._waiting[fqrn, path]

    def _tell(self, waiting: int, oldest: float) -> None:
        state = {
            "notified": self._notified,
            "visible": self._visible,
            "waiting": waiting,
            "oldest_s": round(oldest, 1),
            "revisions": self._revisions.seen,
        }
        new = self._run / f"{PROBE_STATE_FILE}.new"
        new.write_text(json.dumps(state))
        new.replace(self._run / PROBE_STATE_FILE)


def main(run: Path, address: str) -> None:
    """Watch one run."""
    probe = Probe(run, address)
    probe.watch()
    probe.finish()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
