"""Strict validation of Kubernetes objects against custom resource definitions and a few core kinds.

A structural schema says which fields exist; the API server prunes others silently, so a misspelt field would be lost
without a word. Here every object is closed unless the schema preserves unknown fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

CRDS = Path(__file__).parent / "data" / "crds"
TEXT = {"type": "string"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def shape(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """A closed object."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


METADATA = shape(("name",), name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
SELECTOR = shape(
    matchLabels=TEXTS,
    matchExpressions=list_of(
        shape(
            ("key", "operator"),
            key=TEXT,
            operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
            values=list_of(TEXT),
        )
    ),
)
PEERS = list_of(shape(podSelector=SELECTOR, namespaceSelector=SELECTOR))
PORTS = list_of(shape(("protocol", "port"), protocol={"enum": ["TCP", "UDP"]}, port={"type": "integer"}))
CORE = {
    ("v1", "Namespace"): shape(("metadata",), metadata=METADATA),
    ("v1", "ServiceAccount"): shape(("metadata",), metadata=METADATA, automountServiceAccountToken={"type": "boolean"}),
    ("v1", "ConfigMap"): shape(("metadata", "data"), metadata=METADATA, data=TEXTS),
    ("networking.k8s.io/v1", "NetworkPolicy"): shape(
        ("metadata", "spec"),
        metadata=METADATA,
        spec=shape(
            ("podSelector", "policyTypes"),
            podSelector=SELECTOR,
            policyTypes=list_of({"enum": ["Ingress", "Egress"]}),
            ingress=list_of(shape(**{"from": PEERS, "ports": PORTS})),
            egress=list_of(shape(to=PEERS, ports=PORTS)),
        ),
    ),
    ("kustomize.config.k8s.io/v1beta1", "Kustomization"): shape(
        ("resources",),
        namespace=TEXT,
        labels=list_of(shape(("pairs",), pairs=TEXTS)),
        images=list_of(shape(("name",), name=TEXT, newTag=TEXT)),
        resources=list_of(TEXT),
    ),
}


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A structural schema as JSON Schema in which unknown fields are faults."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    dropped = {"default", "format"}
    result = {key: value for key, value in schema.items() if not key.startswith("x-") and key not in dropped}
    if isinstance(schema.get("items"), dict):
        result["items"] = closed(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = closed(schema["additionalProperties"])
    if schema.get("type") == "object":
        result["properties"] = {name: closed(field) for name, field in schema.get("properties", {}).items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            result["additionalProperties"] = False
    return result


@cache
def schemas() -> Mapping[tuple[str, str], dict[str, Any]]:
    """The closed schema of every known (apiVersion, kind)."""
    known = {}
    for (version, kind), schema in CORE.items():
        known[version, kind] = {**schema, "properties": {**schema["properties"], "apiVersion": TEXT, "kind": TEXT}}
    for path in sorted(CRDS.glob("*.yaml")):
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"] |= {"metadata": METADATA, "apiVersion": TEXT, "kind": TEXT}
            schema["required"] = ["metadata", "spec"]
            known[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return known


def faults(thing: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object, each as `where: what`; empty if it is valid."""
    key = (thing.get("apiVersion", ""), thing.get("kind", ""))
    if key not in schemas():
        return [f"unknown kind {key}"]
    validator = jsonschema.Draft202012Validator(schemas()[key])
    return [f"{fault.json_path}: {fault.message}" for fault in validator.iter_errors(thing)]


def objects(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every object in the YAML files below a folder, with its file."""
    for path in sorted(folder.rglob("*.yaml")):
        for thing in yaml.safe_load_all(path.read_text()):
            yield path, thing
