"""The instances of one Service: started from zero on the first request, more while all are busy, none when idle.

This stands in for Knative's activator, autoscaler and queue-proxy. One thread, the keeper, starts and ends processes;
requests run on the threads of those who send them and take a slot of an instance, in the order in which they came.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from functions.local.runtime.errors import SinkError, StartError
from functions.local.runtime.instance import Instance, listens
from functions.local.runtime.manifests import Service
from functions.local.runtime.messages import Answer, Request
from functions.local.runtime.scaling import Scale, pause_s
from functions.local.servers.ports import fresh_port

_TICK_S = 0.25
_PROBE_EVERY_S = 0.02
_START_S = 60.0
_LEAVE_S = 10.0
_REMEMBERED_STARTS = 1000
_ENOUGH_CONNECTIONS = 100


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One Service at one moment; `cold_starts_s` are the seconds from process start to readiness, oldest first."""

    ready: int
    starting: int
    in_flight: int
    waiting: int
    ports: Sequence[int]
    pids: Sequence[int]
    cold_starts_s: Sequence[float]
    started: int
    failed_starts: int
    crashed: int
    log: Path


@dataclass(slots=True)
class _Ticket:
    """A request that waits for a slot; decided with an instance, or without one when no start succeeded."""

    decided: threading.Event = field(default_factory=threading.Event)
    instance: Instance | None = None


class ServiceInstances:
    """The instances of a Service, asked through `send`; `scale` replaces what the manifest says about their number."""

    def __init__(
        self,
        service: Service,
        *,
        scale: Scale,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        port: int | None = None,
        start_timeout_s: float = _START_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.service = service
        self.log = folder / f"{service.name}.log"
        self._scale = scale
        self._command = command
        self._environment = environment
        self._folder = folder
        self._port = port
        self._start_timeout_s = start_timeout_s
        self._clock = clock
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._changed = threading.Condition(self._lock)
        self._ready: list[Instance] = []
        self._suspects: list[Instance] = []
        self._leaving: list[tuple[Instance, float]] = []
        self._tickets: deque[_Ticket] = deque()
        self._cold_starts_s: deque[float] = deque(maxlen=_REMEMBERED_STARTS)
        self._starting = 0
        self._started = 0
        self._failed_starts = 0
        self._failed_in_a_row = 0
        self._no_start_before = 0.0
        self._crashed = 0
        self._stopping = False
        self._grace_s = 0.0
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of {service.name}", daemon=True)

    def start(self) -> None:
        """Begin, and return when the instances that must always run are ready; raises StartError if one is not."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keeper.start()
        with self._lock:
            self._changed.wait_for(lambda: len(self._ready) >= self._scale.least or self._failed_in_a_row)
            if len(self._ready) < self._scale.least:
                raise StartError(f"Service {self.service.name} did not become ready; see {self.log}")

    def stop(self, *, grace_s: float) -> None:
        """Take no more requests, let those in flight end within `grace_s` seconds, and end every process."""
        with self._lock:
            self._stopping = True
            self._grace_s = grace_s
            self._refuse_waiting()
            self._work.notify()
        if self._keeper.is_alive():
            self._keeper.join()

    def send(self, request: Request) -> Answer:
        """Ask an instance, starting one if need be: 503 if none can be started, 504 after the Service's timeout.

        Raises SinkError if the connection to the instance breaks or the Service is being stopped.
        """
        instance = self._take()
        if instance is None:
            return Answer(503)
        try:
            return instance.send(request, timeout_s=self.service.timeout_s)
        except SinkError:
            with self._lock:
                self._suspect(instance)
            raise
        finally:
            self._give_back(instance)

    def status(self) -> ServiceStatus:
        """What runs and what has happened so far."""
        with self._lock:
            return ServiceStatus(
                ready=len(self._ready),
                starting=self._starting,
                in_flight=sum(instance.in_flight for instance in self._ready),
                waiting=len(self._tickets),
                ports=[instance.port for instance in self._ready],
                pids=[instance.pid for instance in self._ready],
                cold_starts_s=list(self._cold_starts_s),
                started=self._started,
                failed_starts=self._failed_starts,
                crashed=self._crashed,
                log=self.log,
            )

    def _take(self) -> Instance | None:
        with self._lock:
            if self._stopping:
                raise SinkError(f"Service {self.service.name} is being stopped")
            if not self._tickets and (instance := self._with_free_slot()) is not None:
                instance.in_flight += 1
                return instance
            if not self._ready and not self._starting and self._clock() < self._no_start_before:
                return None
            ticket = _Ticket()
            self._tickets.append(ticket)
            self._work.notify()
        ticket.decided.wait()
        return ticket.instance

    def _give_back(self, instance: Instance) -> None:
        with self._lock:
            instance.in_flight -= 1
            instance.last_used = self._clock()
            self._serve_waiting()
            if self._stopping:
                self._work.notify()

    def _with_free_slot(self) -> Instance | None:
        """The living instance with the fewest requests; of equals the oldest, so that the younger ones fall idle."""
        while self._ready:
            least = min(self._ready, key=lambda instance: instance.in_flight)
            if not self._scale.takes(least.in_flight):
                break
            if least.alive():
                return least
            self._suspect(least)
        return None

    def _suspect(self, instance: Instance) -> None:
        """Send nobody else to an instance until the keeper has looked at it."""
        if instance in self._ready:
            self._ready.remove(instance)
            self._suspects.append(instance)
            self._work.notify()

    def _serve_waiting(self) -> None:
        while self._tickets and (instance := self._with_free_slot()) is not None:
            instance.in_flight += 1
            ticket = self._tickets.popleft()
            ticket.instance = instance
            ticket.decided.set()

    def _refuse_waiting(self) -> None:
        while self._tickets:
            self._tickets.popleft().decided.set()

    def _keep(self) -> None:
        while True:
            with self._lock:
                if self._stopping:
                    break
                if not self._suspects and not self._start_is_due():
                    busy = self._ready or self._leaving or self._tickets or self._scale.least
                    self._work.wait(_TICK_S if busy else None)
            self._examine_suspects()
            self._dismiss_idle()
            self._see_off()
            with self._lock:
                start = self._start_is_due()
            if start:
                self._start_one()
        self._wind_down()

    def _start_is_due(self) -> bool:
        if self._stopping:
            return False
        demand = len(self._tickets) + sum(instance.in_flight for instance in self._ready)
        return len(self._ready) < self._scale.wanted(demand) and self._clock() >= self._no_start_before

    def _start_one(self) -> None:
        begun = self._clock()
        with self._lock:
            self._starting = 1
        instance = self._launch()
        ready = instance is not None and self._becomes_ready(instance, begun)
        if instance is not None and not ready:
            instance.end()
        with self._lock:
            self._starting = 0
            if instance is not None and ready:
                self._started += 1
                self._failed_in_a_row = 0
                self._cold_starts_s.append(self._clock() - begun)
                instance.last_used = self._clock()
                self._ready.append(instance)
                self._serve_waiting()
            else:
                self._failed_starts += 1
                self._failed_in_a_row += 1
                self._no_start_before = self._clock() + pause_s(self._failed_in_a_row)
                if not self._ready:
                    self._refuse_waiting()
            self._changed.notify_all()

    def _launch(self) -> Instance | None:
        port = self._port or fresh_port()
        if listens(port):
            return None
        try:
            return Instance(
                self._command,
                self._environment,
                port=port,
                connections=self._scale.concurrency or _ENOUGH_CONNECTIONS,
                folder=self._folder,
                log=self.log,
            )
        except OSError:
            return None

    def _becomes_ready(self, instance: Instance, begun: float) -> bool:
        while not self._stopping and instance.alive() and self._clock() - begun < self._start_timeout_s:
            if instance.ready(self.service.readiness_path):
                return True
            time.sleep(_PROBE_EVERY_S)
        return False

    def _examine_suspects(self) -> None:
        """Take back the suspects that answer their probe, and end those that do not."""
        with self._lock:
            suspects = self._suspects + [instance for instance in self._ready if not instance.alive()]
            self._ready = [instance for instance in self._ready if instance not in suspects]
            self._suspects = []
        for instance in suspects:
            if instance.alive() and instance.ready(self.service.readiness_path):
                with self._lock:
                    self._ready.append(instance)
                    self._serve_waiting()
            else:
                instance.end()
                with self._lock:
                    self._crashed += 1

    def _dismiss_idle(self) -> None:
        with self._lock:
            now = self._clock()
            idle = sorted(
                (instance for instance in self._ready if not instance.in_flight),
                key=lambda instance: instance.last_used,
            )
            surplus = self._scale.surplus(
                [instance.last_used for instance in idle], instances=len(self._ready), now=now
            )
            going = idle[:surplus]
            self._ready = [instance for instance in self._ready if instance not in going]
        for instance in going:
            instance.ask_to_stop()
            self._leaving.append((instance, now + _LEAVE_S))

    def _see_off(self) -> None:
        """End what is left of the instances that were asked to stop and have, or had their time."""
        still = []
        for instance, deadline in self._leaving:
            if instance.alive() and self._clock() < deadline:
                still.append((instance, deadline))
            else:
                instance.end()
        self._leaving = still

    def _wind_down(self) -> None:
        deadline = self._clock() + self._grace_s
        with self._lock:
            while any(instance.in_flight and instance.alive() for instance in self._ready):
                left = deadline - self._clock()
                if left <= 0:
                    break
                self._work.wait(min(left, _TICK_S))
            staying, self._ready = self._ready + self._suspects, []
        for instance in staying:
            instance.ask_to_stop()
        self._leaving = [(instance, deadline) for instance in (*staying, *(leaving for leaving, _ in self._leaving))]
        while self._leaving:
            self._see_off()
            time.sleep(_PROBE_EVERY_S)
