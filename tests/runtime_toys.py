"""Toy Services and sources for the tests of the local runtime."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from functions.local.runtime.container import Image, command_line, container_environment
from functions.local.runtime.instances import ServiceInstances
from functions.local.runtime.manifests import Service
from functions.local.runtime.messages import Request
from functions.local.runtime.scaling import Scale

TOY = Path(__file__).with_name("toy_function.py")
PATIENCE_S = 60.0


def wait_until(happened: Callable[[], Any], what: str = "") -> Any:
    """The first true value of `happened()`; fails the test after a minute."""
    deadline = time.monotonic() + PATIENCE_S
    while not (value := happened()):
        assert time.monotonic() < deadline, f"did not happen in {PATIENCE_S} s: {what or happened}"
        time.sleep(0.02)
    return value


def calls(folder: Path, what: str = "end") -> list[dict[str, Any]]:
    """The calls a toy function has written down, so far."""
    try:
        lines = (folder / "calls.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [call for call in map(json.loads, lines) if call["what"] == what]


def wish(**what: Any) -> Request:
    """A request that tells the toy function what to do."""
    return Request(path="/", headers={"Content-Type": "application/json"}, body=json.dumps(what).encode())


def toy_service(name: str = "toy", **annotations: Any) -> Service:
    """A Service that runs the toy function as a plain HTTP server."""
    return Service(
        name=name,
        command=("python", str(TOY)),
        readiness_path="/readyz",
        container_concurrency=1,
        variable_sources=[{"configMapRef": {"name": "toy"}}],
        **annotations,
    )


def toy_instances(folder: Path, *, port: int | None = None, stubborn: bool = False, **limits: Any) -> ServiceInstances:
    """Instances of the toy function that write into `folder`; `limits` are those of Scale, and `timeout_s`."""
    service = toy_service(timeout_s=limits.pop("timeout_s", 30.0))
    image = Image.of_this_process()
    settings = {"toy": {"TOY_FOLDER": str(folder), **({"TOY_STUBBORN": "1"} if stubborn else {})}}
    scale = {"concurrency": 1, "least": 0, "most": 1, "idle_s": 60.0, "retention_s": 0.0, **limits}
    return ServiceInstances(
        service,
        scale=Scale(**scale),
        command=command_line(service, image),
        environment={**image.environment(folder), **container_environment(service, settings)},
        folder=folder,
        port=port,
    )


def toy_manifests(folder: Path, *, vhost: str, ttl_ms: int, **changes: Any) -> Path:
    """A folder with one Service, its source, and its queues in the shape that every step has."""
    framework = changes.pop("framework", False)
    service: Mapping[str, Any] = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "toy"},
        "spec": {
            "template": {
                "metadata": {
                    "annotations": {
                        "autoscaling.knative.dev/max-scale": str(changes.pop("max_scale", 2)),
                        "autoscaling.knative.dev/window": "60s",
                    }
                },
                "spec": {
                    "containerConcurrency": 4,
                    "timeoutSeconds": 30,
                    "containers": [
                        {
                            "command": ["functions-framework"] if framework else ["python", str(TOY)],
                            "env": [{"name": "FUNCTION_TARGET", "value": "toy"}, {"name": "THREADS", "value": "4"}],
                            "envFrom": [{"configMapRef": {"name": "toy"}}],
                            "readinessProbe": {"httpGet": {"path": "/readyz"}},
                        }
                    ],
                },
            }
        },
    }
    source = {
        "apiVersion": "sources.knative.dev/v1alpha1",
        "kind": "RabbitmqSource",
        "metadata": {"name": "toy"},
        "spec": {
            "rabbitmqResourcesConfig": {
                "vhost": vhost,
                "queueName": "fn.toy",
                "predeclared": True,
                "parallelism": changes.pop("parallelism", 8),
            },
            "delivery": {"retry": 1, "backoffPolicy": "linear", "backoffDelay": "PT0.1S"},
            "sink": {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "toy"}, "uri": "/in"},
        },
    }
    assert not changes, changes
    folder.mkdir(parents=True)
    text = yaml.safe_dump_all([service, source, *step_topology("fn.toy", vhost=vhost, ttl_ms=ttl_ms)])
    (folder / "toy.yaml").write_text(text)
    return folder


def step_topology(queue: str, *, vhost: str, ttl_ms: int) -> list[dict[str, Any]]:
    """A step's three queues and two policies, as in knative/rabbitmq, with another retry time."""

    def thing(kind: str, **spec: Any) -> dict[str, Any]:
        return {"apiVersion": "rabbitmq.com/v1beta1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}

    def letters_to(target: str) -> dict[str, Any]:
        return {
            "dead-letter-exchange": "",
            "dead-letter-routing-key": target,
            "dead-letter-strategy": "at-least-once",
            "overflow": "reject-publish",
        }

    def policy(name: str, definition: dict[str, Any]) -> dict[str, Any]:
        pattern = "^" + name.replace(".", r"\.") + "$"
        return thing("Policy", name=name, vhost=vhost, pattern=pattern, applyTo="queues", definition=definition)

    names = (queue, f"{queue}.retry", f"{queue}.parked")
    return [
        policy(queue, letters_to(f"{queue}.retry")),
        policy(f"{queue}.retry", {"message-ttl": ttl_ms, **letters_to(queue)}),
        *(thing("Queue", name=name, vhost=vhost, type="quorum", durable=True) for name in names),
    ]
