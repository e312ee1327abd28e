"""What every kind of task is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpcbench.plan import Plan, Task
from hpcbench.raw import RawFile
from hpcbench.run_folder import BASE_FILE, STOP_FILE
from hpcbench.s3 import S3Client
from hpcbench.target import Target


@dataclass(frozen=True, slots=True)
class Work:
    """A task, the plan that it is part of, the service, and the file for what happens."""

    run: Path
    plan: Plan
    task: Task
    target: Target
    raw: RawFile

    @property
    def base(self) -> str:
        """The text that contents are made of."""
        return (self.run / BASE_FILE).read_text()

    def s3(self, user: int) -> S3Client:
        """A client with the keys of one user of the plan."""
        return self.target.s3(self.target.users[user])

    @property
    def stopped(self) -> bool:
        """Whether the load is to end."""
        return (self.run / STOP_FILE).exists()
