"""The event source, the functions and the gateway in a process of their own, which can be killed like any other.

Started as ``python -m tests.soak.runtime_process SPECIFICATION``. Every answer a function gives is written to a
journal, which outlives the process; a listener on the loopback interface takes orders to kill functions.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from multiprocessing.connection import Listener
from pathlib import Path

from pydantic import SecretStr

from functions.local.runtime.container import Image
from functions.local.runtime.manifests import installed_folder
from functions.local.runtime.runtime import Runtime
from functions.local.runtime.topology import Broker
from tests.soak.journal import Journal, identity

FUNCTIONS_SOURCE = """\
from functions.main import *
from tests.soak.taken_along import write_down

write_down({journal!r})
"""
"""What functions-framework loads in place of ``functions/main.py``: the same targets, with a journal."""

PATIENCE_S = 8.0
"""How long a kill waits for a request to be under way."""


class WatchedSink:
    """A Service between the source and its instances: it notes every answer, and knows when requests are under way."""

    def __init__(self, queue, sink, journal):
        self._queue = queue
        self._sink = sink
        self._journal = journal
        self._running = 0
        self._begun = threading.Condition()

    def send(self, request):
        with self._begun:
            self._running += 1
            self._begun.notify_all()
        began = time.monotonic()
        status = 0
        try:
            answer = self._sink.send(request)
            status = answer.status
            return answer
        finally:
            with self._begun:
                self._running -= 1
            self._journal.write(
                at=time.time(),
                queue=self._queue,
                message=identity(request.headers, request.body),
                status=status,
                ms=round(1000 * (time.monotonic() - began)),
            )

    def wait_for_request(self):
        with self._begun:
            return self._begun.wait_for(lambda: self._running > 0, PATIENCE_S)

    @property
    def running(self):
        return self._running


def kill(runtime, sinks, service, delay_s):
    """Kill all instances of a Service: now, or `delay_s` after a request is under way; returns what died in what."""
    sink = next((sink for name, sink in sinks.items() if runtime.manifests.sources[name].sink == service), None)
    if delay_s is not None and sink is not None:
        if not sink.wait_for_request():
            return 0, 0
        give_up_at = time.monotonic() + PATIENCE_S
        while not runtime.status().services[service].pids and time.monotonic() < give_up_at:
            time.sleep(0.01)  # it is being started for this very request
        time.sleep(delay_s)
    killed = 0
    in_flight = runtime.status().services[service].in_flight
    for pid in runtime.status().services[service].pids:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
            killed += 1
    return killed, in_flight


def main(specification):
    spec = json.loads(Path(specification).read_text())
    journal = Journal(spec["journal"])
    functions_source = Path(spec["state"]) / "functions_source.py"
    functions_source.parent.mkdir(parents=True, exist_ok=True)
    functions_source.write_text(FUNCTIONS_SOURCE.format(journal=spec["journal"]))
    runtime = Runtime(
        installed_folder(),
        settings={
            name: {key: SecretStr(value) for key, value in values.items()} for name, values in spec["settings"].items()
        },
        broker=Broker(**{**spec["broker"], "password": SecretStr(spec["broker"]["password"])}),
        state=Path(spec["state"]),
        ports=spec["ports"],
        most_instances=spec["most_instances"],
        image=Image.of_this_process(functions_source),
    )
    sinks = {}
    for name, source in runtime._sources.items():
        sinks[name] = source._sink = WatchedSink(source.source.queue, source._sink, journal)
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    runtime.start()
    listener = Listener(("127.0.0.1", 0), authkey=spec["key"].encode())
    threading.Thread(target=serve, args=(listener, runtime, sinks), daemon=True).start()
    told = Path(spec["told"])
    told.with_suffix(".new").write_text(str(listener.address[1]))
    told.with_suffix(".new").replace(told)
    stopping.wait()
    runtime.stop()


def serve(listener, runtime, sinks):
    while True:
        with suppress(OSError, EOFError), listener.accept() as connection:
            order, *arguments = connection.recv()
            if order == "kill":
                connection.send(kill(runtime, sinks, *arguments))
            elif order == "status":
                status = runtime.status()
                connection.send(
                    {
                        "busy": sum(sink.running for sink in sinks.values())
                        + sum(source.in_flight for source in status.sources.values()),
                        "connected": all(source.connected for source in status.sources.values()),
                        "pids": {name: list(service.pids) for name, service in status.services.items()},
                        "retried": sum(source.retried for source in status.sources.values()),
                        "nacked": sum(source.nacked for source in status.sources.values()),
                    }
                )


if __name__ == "__main__":
    main(sys.argv[1])
