"""A run between two commands: which processes and jobs belong to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hpcbench.errors import BenchError
from hpcbench.run_folder import STATE_FILE


@dataclass(slots=True)
class RunState:
    """What ``submit`` started; processes as [name, pid, start, boot] (see functions.local.servers.ProcessRecord)."""

    site: str
    begun: float
    command: str
    processes: list[list[str | int]] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, run: Path) -> RunState:
        """Raises BenchError if nothing was submitted there."""
        try:
            return cls(**json.loads((run / STATE_FILE).read_text()))
        except (OSError, ValueError, TypeError) as err:
            raise BenchError(f"{run} is no submitted run: {err}", hint="`run.py submit` makes one.") from err

    def write(self, run: Path) -> None:
        """Keep it."""
        (run / STATE_FILE).write_text(json.dumps(asdict(self), indent=1) + "\n")
