"""Scenarios and sites as people write them: TOML files, read strictly, so that a slip of the pen is told by name."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from hpcbench.errors import BenchError

T = TypeVar("T")


def read(path: Path, what: str) -> dict[str, Any]:
    """The document in a file; raises BenchError that names the others there are of `what`, if there is none."""
    try:
        return tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as err:
        raise BenchError(f"{path}: {err}", hint=f"{what} there are: {', '.join(names(path.parent))}.") from err


def names(folder: Path) -> list[str]:
    """The names of the TOML files in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def made(kind: type[T], raw: Mapping[str, Any], path: Path) -> T:
    """A dataclass from the part of a file that describes it; raises BenchError that names every fault."""
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 - tasks on nodes have none, and read only plans

    try:
        return TypeAdapter(kind).validate_python(raw, extra="forbid")
    except ValidationError as err:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in err.errors())
        known = ", ".join(part.name for part in dataclasses.fields(kind))  # type: ignore[arg-type]
        raise BenchError(f"{path}: {faults}", hint=f"What can be set: {known}.") from err
