"""Sites: where tasks run and where the service is, as TOML below ``sites/``; a site knows no scenario."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpcbench.errors import BenchError
from hpcbench.scenario import names


@dataclass(frozen=True, slots=True)
class Slurm:
    """How to submit: `local` starts a Slurm on this machine; `options` go to sbatch, `setup` to the job's script."""

    local: bool = False
    options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """Where the service is: `target` a JSON file (see README), or empty to start a stack on this machine.

    `store` is ``bluestore`` or ``memstore``, for a stack of one's own.
    """

    target: str = ""
    store: str = "bluestore"
    users: int = 4


@dataclass(frozen=True, slots=True)
class Site:
    """One site; without `slurm`, tasks are processes here. `probe_address` is where nodes reach the probe."""

    name: str
    title: str
    probe_address: str = "127.0.0.1"
    python: str = ""
    k6: str = ""
    slurm: Slurm | None = None
    service: Service = field(default_factory=Service)


def load_site(path: Path) -> Site:
    """Read a site; raises BenchError that names what is wrong."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as err:
        raise BenchError(f"{path}: {err}", hint=f"Sites there are: {', '.join(names(path.parent))}.") from err
    parts = {"slurm": Slurm, "service": Service}
    values: dict[str, Any] = {"name": path.stem}
    for name, value in document.items():
        values[name] = _made(parts[name], value, path) if name in parts else value
    site: Site = _made(Site, values, path)
    return site


def _made(kind: Any, raw: dict[str, Any], path: Path) -> Any:
    known = {part.name for part in dataclasses.fields(kind)}
    if unknown := raw.keys() - known:
        raise BenchError(f"{path}: unknown: {', '.join(sorted(unknown))}", hint=f"Known: {', '.join(sorted(known))}.")
    try:
        return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()})
    except TypeError as err:
        raise BenchError(f"{path}: {err}") from err
