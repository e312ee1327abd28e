"""The manifests in ``knative/`` as values: what the runtime and the tests need of each object, flattened.

The schemas of the cluster say whether an object is well formed (``tests/unit/test_knative_manifests.py``); here only
what is run locally is read, and everything else is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import AliasPath, BaseModel, ConfigDict, Field, ValidationError

from functions.local.runtime.durations import BackoffSeconds, GoSeconds
from functions.local.runtime.errors import ManifestError
from functions.local.runtime.schedules import CronSchedule, TimeZone

_KUSTOMIZATION = "kustomization.yaml"
_AUTOSCALING = "autoscaling.knative.dev/"


def _revision(*path: str | int) -> AliasPath:
    return AliasPath("spec", "template", "spec", *path)


def _container(name: str) -> AliasPath:
    return _revision("containers", 0, name)


def _annotation(name: str) -> AliasPath:
    return AliasPath("spec", "template", "metadata", "annotations", _AUTOSCALING + name)


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Reference(_Value):
    """A ConfigMap or Secret, or one key of it; `optional` ones may be absent."""

    name: str
    key: str = ""
    optional: bool = False


class Variable(_Value):
    """One environment variable: a value, or a key of a ConfigMap or Secret."""

    name: str
    value: str = ""
    config_map_key: Reference | None = Field(default=None, validation_alias=AliasPath("valueFrom", "configMapKeyRef"))
    secret_key: Reference | None = Field(default=None, validation_alias=AliasPath("valueFrom", "secretKeyRef"))


class VariableSource(_Value):
    """All keys of a ConfigMap or Secret as environment variables."""

    config_map: Reference | None = Field(default=None, validation_alias="configMapRef")
    secret: Reference | None = Field(default=None, validation_alias="secretRef")
    prefix: str = ""


class Service(_Value):
    """A Knative Service: the process of an instance, and how many instances of it run when.

    `container_concurrency` 0 is unlimited, `max_scale` 0 too; times in seconds.
    """

    name: str = Field(validation_alias=AliasPath("metadata", "name"))
    command: tuple[str, ...] = Field(default=(), validation_alias=_container("command"))
    args: tuple[str, ...] = Field(default=(), validation_alias=_container("args"))
    variables: tuple[Variable, ...] = Field(default=(), validation_alias=_container("env"))
    variable_sources: tuple[VariableSource, ...] = Field(default=(), validation_alias=_container("envFrom"))
    readiness_path: str | None = Field(
        default=None, validation_alias=_revision("containers", 0, "readinessProbe", "httpGet", "path")
    )
    container_concurrency: int = Field(default=0, ge=0, validation_alias=_revision("containerConcurrency"))
    timeout_s: float = Field(default=300.0, gt=0, validation_alias=_revision("timeoutSeconds"))
    min_scale: int = Field(default=0, ge=0, validation_alias=_annotation("min-scale"))
    max_scale: int = Field(default=0, ge=0, validation_alias=_annotation("max-scale"))
    window_s: GoSeconds = Field(default=60.0, validation_alias=_annotation("window"))
    retention_s: GoSeconds = Field(default=0.0, validation_alias=_annotation("scale-to-zero-pod-retention-period"))


class Delivery(_Value):
    """How often and after which waits a source tries again before it gives a message back."""

    retry: int = Field(default=0, ge=0)
    policy: Literal["linear", "exponential"] = Field(default="exponential", validation_alias="backoffPolicy")
    delay_s: BackoffSeconds = Field(default=0.2, validation_alias="backoffDelay")

    def wait_s(self, attempt: int) -> float:
        """Seconds before retry number `attempt`, counted from 1; no upper limit and no jitter, as in the real one."""
        return self.delay_s * (2**attempt if self.policy == "exponential" else attempt)


class Source(_Value):
    """A RabbitmqSource: which queue goes to which Service, with how many workers."""

    name: str = Field(validation_alias=AliasPath("metadata", "name"))
    namespace: str = Field(default="default", validation_alias=AliasPath("metadata", "namespace"))
    queue: str = Field(validation_alias=AliasPath("spec", "rabbitmqResourcesConfig", "queueName"))
    vhost: str = Field(default="/", validation_alias=AliasPath("spec", "rabbitmqResourcesConfig", "vhost"))
    predeclared: Literal[True] = Field(validation_alias=AliasPath("spec", "rabbitmqResourcesConfig", "predeclared"))
    parallelism: int = Field(
        default=1, ge=1, le=1000, validation_alias=AliasPath("spec", "rabbitmqResourcesConfig", "parallelism")
    )
    delivery: Delivery | None = Field(default=None, validation_alias=AliasPath("spec", "delivery"))
    sink_kind: Literal["Service"] = Field(validation_alias=AliasPath("spec", "sink", "ref", "kind"))
    sink: str = Field(validation_alias=AliasPath("spec", "sink", "ref", "name"))
    path: str = Field(default="/", pattern="^/", validation_alias=AliasPath("spec", "sink", "uri"))


class Timer(_Value):
    """A PingSource: when which Service gets an event, and what is in it."""

    name: str = Field(validation_alias=AliasPath("metadata", "name"))
    namespace: str = Field(default="default", validation_alias=AliasPath("metadata", "namespace"))
    schedule: CronSchedule = Field(validation_alias=AliasPath("spec", "schedule"))
    timezone: TimeZone = Field(default="UTC", validation_alias=AliasPath("spec", "timezone"))
    content_type: str = Field(default="", validation_alias=AliasPath("spec", "contentType"))
    data: str = Field(default="", validation_alias=AliasPath("spec", "data"))
    data_base64: str = Field(default="", validation_alias=AliasPath("spec", "dataBase64"))
    extensions: Mapping[str, str] = Field(
        default_factory=dict, validation_alias=AliasPath("spec", "ceOverrides", "extensions")
    )
    sink_kind: Literal["Service"] = Field(validation_alias=AliasPath("spec", "sink", "ref", "kind"))
    sink: str = Field(validation_alias=AliasPath("spec", "sink", "ref", "name"))
    path: str = Field(default="/", pattern="^/", validation_alias=AliasPath("spec", "sink", "uri"))


class Exchange(_Value):
    """An exchange."""

    name: str = Field(validation_alias=AliasPath("spec", "name"))
    vhost: str = Field(default="/", validation_alias=AliasPath("spec", "vhost"))
    type: str = Field(default="direct", validation_alias=AliasPath("spec", "type"))
    durable: bool = Field(default=False, validation_alias=AliasPath("spec", "durable"))
    auto_delete: bool = Field(default=False, validation_alias=AliasPath("spec", "autoDelete"))
    arguments: Mapping[str, Any] = Field(default_factory=dict, validation_alias=AliasPath("spec", "arguments"))


class Queue(_Value):
    """A queue."""

    name: str = Field(validation_alias=AliasPath("spec", "name"))
    vhost: str = Field(default="/", validation_alias=AliasPath("spec", "vhost"))
    type: str = Field(default="", validation_alias=AliasPath("spec", "type"))
    durable: bool = Field(default=False, validation_alias=AliasPath("spec", "durable"))
    auto_delete: bool = Field(default=False, validation_alias=AliasPath("spec", "autoDelete"))
    arguments: Mapping[str, Any] = Field(default_factory=dict, validation_alias=AliasPath("spec", "arguments"))


class Binding(_Value):
    """A binding from an exchange to a queue."""

    source: str = Field(validation_alias=AliasPath("spec", "source"))
    destination: str = Field(validation_alias=AliasPath("spec", "destination"))
    destination_type: Literal["queue"] = Field(validation_alias=AliasPath("spec", "destinationType"))
    routing_key: str = Field(default="", validation_alias=AliasPath("spec", "routingKey"))
    vhost: str = Field(default="/", validation_alias=AliasPath("spec", "vhost"))
    arguments: Mapping[str, Any] = Field(default_factory=dict, validation_alias=AliasPath("spec", "arguments"))


class Policy(_Value):
    """A policy: `definition` holds for everything of the kind `apply_to` whose name `pattern` finds."""

    name: str = Field(validation_alias=AliasPath("spec", "name"))
    vhost: str = Field(default="/", validation_alias=AliasPath("spec", "vhost"))
    pattern: str = Field(validation_alias=AliasPath("spec", "pattern"))
    apply_to: str = Field(default="all", validation_alias=AliasPath("spec", "applyTo"))
    priority: int = Field(default=0, validation_alias=AliasPath("spec", "priority"))
    definition: Mapping[str, Any] = Field(validation_alias=AliasPath("spec", "definition"))


_KINDS: Mapping[tuple[str, str], type[_Value]] = {
    ("serving.knative.dev", "Service"): Service,
    ("sources.knative.dev", "RabbitmqSource"): Source,
    ("sources.knative.dev", "PingSource"): Timer,
    ("rabbitmq.com", "Exchange"): Exchange,
    ("rabbitmq.com", "Queue"): Queue,
    ("rabbitmq.com", "Binding"): Binding,
    ("rabbitmq.com", "Policy"): Policy,
}


@dataclass(frozen=True, slots=True)
class Manifests:
    """Everything in a folder that the local runtime runs; Services, sources and timers by name."""

    services: Mapping[str, Service] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    timers: Mapping[str, Timer] = field(default_factory=dict)
    exchanges: Sequence[Exchange] = ()
    queues: Sequence[Queue] = ()
    bindings: Sequence[Binding] = ()
    policies: Sequence[Policy] = ()

    @classmethod
    def load(cls, folder: Path) -> Manifests:
        """Read every YAML file below `folder`; raises ManifestError that lists every fault in every file.

        The namespace of objects that name none is the one in the folder's own ``kustomization.yaml``.
        """
        faults: list[str] = []
        values: list[_Value] = []
        namespace = _namespace(folder)
        for path, raw in _objects(folder, faults):
            kind = _KINDS.get((str(raw.get("apiVersion", "")).partition("/")[0], str(raw.get("kind", ""))))
            if kind is None:
                continue
            metadata = {"namespace": namespace, **(raw.get("metadata") or {})}
            try:
                values.append(kind.model_validate({**raw, "metadata": metadata}))
            except ValidationError as err:
                where = f"{path.relative_to(folder)}: {kind.__name__} {metadata.get('name', '')}"
                faults += [f"{where}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in err.errors()]
        if not faults and not values:
            faults.append(f"{folder} holds no manifests")
        services = {value.name: value for value in values if isinstance(value, Service)}
        sources = {value.name: value for value in values if isinstance(value, Source)}
        timers = {value.name: value for value in values if isinstance(value, Timer)}
        senders: list[Source | Timer] = [*sources.values(), *timers.values()]
        faults += [
            f"{'timer' if isinstance(sender, Timer) else 'source'} {sender.name} sends to Service {sender.sink}, "
            "which no manifest defines"
            for sender in senders
            if sender.sink not in services
        ]
        if faults:
            raise ManifestError("; ".join(faults))
        return cls(
            services=services,
            sources=sources,
            timers=timers,
            exchanges=[value for value in values if isinstance(value, Exchange)],
            queues=[value for value in values if isinstance(value, Queue)],
            bindings=[value for value in values if isinstance(value, Binding)],
            policies=[value for value in values if isinstance(value, Policy)],
        )


def installed_folder() -> Path:
    """Where the manifests of this installation are: in the wheel beside this package, in a working tree at its top.

    Raises ManifestError if neither is there.
    """
    local = Path(__file__).parents[1]
    for folder in (local / "knative", local.parents[1] / "knative"):
        if (folder / _KUSTOMIZATION).is_file():
            return folder
    raise ManifestError("the folder knative/ is neither beside functions/local nor at the top of a working tree")


def _namespace(folder: Path) -> str:
    try:
        return str(yaml.safe_load((folder / _KUSTOMIZATION).read_text())["namespace"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return "default"


def _objects(folder: Path, faults: list[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(folder.rglob("*.yaml")):
        if path.name == _KUSTOMIZATION:
            continue
        try:
            documents = list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
            faults.append(f"{path.relative_to(folder)}: {err}")
            continue
        for document in documents:
            if isinstance(document, dict):
                yield path, document
            elif document is not None:
                faults.append(f"{path.relative_to(folder)}: holds something that is no object")
