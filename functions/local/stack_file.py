"""What a running stack says of itself to other processes, in a file in its folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from functions.local.servers.processes import start_time

NAME = "stack.json"


@dataclass(frozen=True, slots=True)
class StackFile:
    """What a running stack says of itself, readable by its owner only: it holds credentials."""

    pid: int
    started: int | None
    gateway_url: str
    repository_url: str
    s3_url: str
    management_url: str
    vault_url: str
    settings: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The file of the stack in `folder`, or None if there is none or its process is gone."""
        try:
            stack = cls(**json.loads((folder / NAME).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return stack if start_time(stack.pid) == stack.started else None

    def write(self, folder: Path) -> None:
        """Keep it, mode 0600."""
        write_whole(folder / NAME, json.dumps(asdict(self), indent=1))

    @staticmethod
    def remove(folder: Path) -> None:
        """Forget the stack in `folder`; none is fine."""
        (folder / NAME).unlink(missing_ok=True)


def write_whole(path: Path, text: str) -> None:
    """Write a file of mode 0600 of which nobody who reads it at the same time sees a part."""
    new = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
