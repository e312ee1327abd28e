"""What the three local servers have in common: a folder of their own, a start that undoes itself, a bounded stop."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from functions.local.servers.children import bare_environment
from functions.local.servers.errors import LocalServerError
from functions.local.servers.packages import Program, require
from functions.local.servers.processes import ProcessBook, end_recorded, ownership

_SWEEP_GRACE_S = 5.0


class LocalServer(ABC):
    """A server below one folder, ended by pid, never by name; one living process at a time may hold the folder."""

    programs: ClassVar[tuple[Program, ...]]

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._book = ProcessBook(self.folder)
        self._running: contextlib.ExitStack | None = None

    def start(self) -> None:
        """Return when the server serves; on a started server it does nothing.

        What a killed run left in the folder is ended first. Raises LocalServerError, with everything ended again, when
        a program is missing, the folder is in use, or the server does not come up.
        """
        if self._running is not None:
            return
        tools = require(self.programs)
        with contextlib.ExitStack() as undo:
            try:
                undo.enter_context(ownership(self.folder))
                end_recorded(self.folder, grace_s=_SWEEP_GRACE_S)
                undo.callback(self._halt)
                self._launch(tools)
            except OSError as error:
                raise LocalServerError(
                    f"{type(self).__name__} in {self.folder}: {error}", next_step="Check the folder's disk and rights."
                ) from error
            self._running = undo.pop_all()

    def stop(self) -> None:
        """End the server: asked first, killed when it takes too long. Repeating is fine; data in the folder stay."""
        if self._running is not None:
            self._running.close()
            self._running = None

    @abstractmethod
    def alive(self) -> bool:
        """Whether every process of the server runs."""

    @abstractmethod
    def _launch(self, tools: Mapping[str, Path]) -> None:
        """Start the processes and wait until they serve."""

    @abstractmethod
    def _halt(self) -> None:
        """End the processes, however far the launch came."""

    def _environment(self, **more: str) -> dict[str, str]:
        return bare_environment(self.folder, **more)
