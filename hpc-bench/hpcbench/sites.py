"""Sites: where tasks run and where the service is, as TOML below ``sites/``; a site knows no scenario."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from hpcbench import described


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
    return described.made(Site, {"name": path.stem, **described.read(path, "Sites")}, path)
