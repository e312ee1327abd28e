"""The wiring of the manifests, running on one machine.

What the manifests say is done: topology, sources, instances. What a cluster would add and one machine has no use for is
left out: accounts of RabbitMQ, network policies, traffic splitting, liveness probes, resource limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from functions.local.runtime.container import Image, SettingsByName, command_line, container_environment
from functions.local.runtime.errors import ManifestError, StartError
from functions.local.runtime.instances import ServiceInstances, ServiceStatus
from functions.local.runtime.manifests import Manifests, Service
from functions.local.runtime.messages import Answer, Request
from functions.local.runtime.scaling import Scale
from functions.local.runtime.source import EventSource, SourceStatus
from functions.local.runtime.timer import EventTimer, TimerStatus
from functions.local.runtime.topology import Broker, apply_topology

_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """Everything that runs, by name."""

    services: Mapping[str, ServiceStatus]
    sources: Mapping[str, SourceStatus]
    timers: Mapping[str, TimerStatus]


class Runtime:
    """The Services, event sources and timers of a folder of manifests.

    `settings` is the content of the ConfigMaps and Secrets by name; a SecretStr is opened only for the process that
    gets it. `state` receives one log file per Service. `ports` gives Services a fixed port: such a Service has exactly
    one instance, always. `most_instances` lowers every max-scale, for machines with few cores; `idle_s` replaces the
    manifests' window, in seconds.
    """

    def __init__(
        self,
        manifests: Path,
        *,
        settings: SettingsByName,
        broker: Broker,
        state: Path,
        ports: Mapping[str, int] | None = None,
        image: Image | None = None,
        most_instances: int | None = None,
        idle_s: float | None = None,
        grace_s: float = _GRACE_S,
    ) -> None:
        self.manifests = Manifests.load(manifests)
        self._broker = broker
        self._grace_s = grace_s
        self._running = False
        image = image or Image.of_this_process()
        scratch = state.absolute() / "tmp"
        scratch.mkdir(parents=True, exist_ok=True)
        ports = ports or {}
        if unknown := ports.keys() - self.manifests.services.keys():
            raise ManifestError(f"no manifest defines Service {', '.join(sorted(unknown))}")
        self._services = {
            name: ServiceInstances(
                service,
                scale=_scale(service, fixed=name in ports, most_instances=most_instances, idle_s=idle_s),
                command=command_line(service, image),
                environment={**image.environment(scratch), **container_environment(service, settings)},
                folder=state.absolute(),
                port=ports.get(name),
            )
            for name, service in self.manifests.services.items()
        }
        self._sources = {
            name: EventSource(
                source, self._services[source.sink], broker.parameters(source.vhost, name=f"source {name}")
            )
            for name, source in self.manifests.sources.items()
        }
        self._timers = {
            name: EventTimer(timer, self._services[timer.sink]) for name, timer in self.manifests.timers.items()
        }

    def start(self) -> None:
        """Apply the topology, start what must always run, and begin to take messages; a runtime starts once.

        Raises TopologyError or StartError, with everything ended again.
        """
        apply_topology(self.manifests, self._broker)
        try:
            for service in self._services.values():
                service.start()
        except StartError:
            self._stop_services()
            raise
        for sender in self._senders():
            sender.start()
        self._running = True

    def stop(self) -> None:
        """Stop timers and sources, which gives messages in flight to the retry queues, then the instances.

        Instances have the grace period to finish what they do. Repeating is fine.
        """
        if self._running:
            self._running = False
            _together([sender.stop for sender in self._senders()])
            self._stop_services()

    def _senders(self) -> list[EventSource | EventTimer]:
        return [*self._sources.values(), *self._timers.values()]

    def _stop_services(self) -> None:
        _together([partial(service.stop, grace_s=self._grace_s) for service in self._services.values()])

    def status(self) -> RuntimeStatus:
        """What runs now and what has happened since the start."""
        return RuntimeStatus(
            services={name: service.status() for name, service in self._services.items()},
            sources={name: source.status() for name, source in self._sources.items()},
            timers={name: timer.status() for name, timer in self._timers.items()},
        )

    def send(self, service: str, request: Request) -> Answer:
        """Ask a Service by hand, starting it from zero if need be; raises ManifestError if there is no such Service."""
        if service not in self._services:
            raise ManifestError(f"no manifest defines Service {service}")
        return self._services[service].send(request)

    def ring(self, timer: str) -> None:
        """Have a timer post now, in the background; raises ManifestError if there is no such timer."""
        if timer not in self._timers:
            raise ManifestError(f"no manifest defines timer {timer}")
        self._timers[timer].ring()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _scale(service: Service, *, fixed: bool, most_instances: int | None, idle_s: float | None) -> Scale:
    limits = [limit for limit in (service.max_scale, 1 if fixed else 0, most_instances or 0) if limit]
    most = min(limits, default=0)
    least = max(service.min_scale, int(fixed))
    return Scale(
        concurrency=service.container_concurrency,
        least=min(least, most) if most else least,
        most=most,
        idle_s=service.window_s if idle_s is None else idle_s,
        retention_s=service.retention_s if idle_s is None else 0.0,
    )


def _together(calls: Sequence[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(max(len(calls), 1)) as threads:
        for outcome in [threads.submit(call) for call in calls]:
            outcome.result()
