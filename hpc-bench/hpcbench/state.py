"""A run between two commands: which processes and jobs belong to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from functions.local.servers.processes import ProcessRecord
from hpcbench.errors import BenchError
from hpcbench.run_folder import STATE_FILE


@dataclass(slots=True)
class RunState:
    """What ``submit`` started: processes of the node it ran on, and job arrays by their ids."""

    site: str
    begun: float
    command: str
    processes: list[ProcessRecord] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, run: Path) -> RunState:
        """Raises BenchError if nothing was submitted there."""
        try:
            document = json.loads((run / STATE_FILE).read_text())
            processes = [ProcessRecord(*each) for each in document.pop("processes")]
            return cls(processes=processes, **document)
        except (OSError, ValueError, TypeError, KeyError) as err:
            raise BenchError(f"{run} is no submitted run: {err}", hint="`run.py submit` makes one.") from err

    def write(self, run: Path) -> None:
        """Keep it, each process as a list."""
        document = {**asdict(self), "processes": [list(asdict(each).values()) for each in self.processes]}
        (run / STATE_FILE).write_text(json.dumps(document, indent=1) + "\n")
