"""What made a result: command, versions, machine."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from hpcbench.run_folder import PROVENANCE_FILE

_LIBRARIES = ("functions-framework", "obstore", "boto3", "pika", "deflate", "cryptography", "uvicorn", "k6")
_PROGRAMS = {
    "RadosGW": ("radosgw", "--version"),
    "RabbitMQ": ("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server"),
    "Slurm": ("sbatch", "--version"),
}


def write_provenance(run: Path, command: str) -> None:
    """Note it beside the raw data."""
    (run / PROVENANCE_FILE).write_text(json.dumps(provenance(command), indent=1) + "\n")


def provenance(command: str) -> dict[str, Any]:
    """Command, commit, versions and machine; what cannot be found is left out."""
    root = Path(__file__).parents[2]
    versions = {name: said for name, call in _PROGRAMS.items() if (said := _ask(*call))}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "command": command,
        "commit": _ask("git", "-C", str(root), "rev-parse", "--short", "HEAD"),
        "changed": bool(
            _ask("git", "-C", str(root), "status", "--porcelain", "functions", "events", "gateway", "knative")
        ),
        "versions": {"Python": platform.python_version(), **versions},
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "kernel": platform.release(),
            "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
            "load_before": round(os.getloadavg()[0], 2),
        },
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
