"""The one error of the local servers: what failed, the last lines of the log, and what to do next."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from functions.errors import Permanent

_TAIL_LINES = 12
_TAIL_BYTES = 16_384
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class LocalServerError(Permanent):
    """A server of the local stack cannot be started, reached or asked; trying again without a change is no use."""

    code: ClassVar[str] = "local-server"

    def __init__(self, message: str, *, next_step: str, log: Path | None = None) -> None:
        tail = log_tail(log) if log is not None else ""
        super().__init__(f"{message}\nLast lines of {log}:\n{tail}" if tail else message)
        self.next_step = next_step
        self.log = log

    def explained(self) -> str:
        """The message, the end of the log, and the next step."""
        return f"{self}\n{self.next_step}"


def log_tail(log: Path) -> str:
    """The last lines of a log file, indented and without colours; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line.rstrip() for line in _COLOURS.sub("", text).splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
