"""Keeps one server running: starts it again whenever it dies by itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from functions.local.servers.children import Child, how_it_ended
from functions.local.servers.errors import LocalServerError

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_STEADY_S = 10.0


class Keeper:
    """A thread that restarts a child and says so in the child's log.

    `before_restart` runs before every restart, after the pause; the pause doubles while the child dies within 10 s.
    """

    def __init__(self, child: Child, *, before_restart: Callable[[], None]) -> None:
        self.restarts = 0
        self._child = child
        self._before_restart = before_restart
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._keep, name=f"keeper-{child.name}", daemon=True)

    def start(self) -> None:
        """Start the child and watch it from now on."""
        self._child.start()
        self._thread.start()

    def stop(self, *, grace_s: float) -> None:
        """Stop watching and end the child; repeating is fine."""
        with self._lock:
            self._stopping.set()
            self._child.ask_to_stop()
        self._child.stop(grace_s=grace_s)
        if self._thread.is_alive():
            self._thread.join()

    def _keep(self) -> None:
        pause = _FIRST_PAUSE_S
        while True:
            began = time.monotonic()
            status = self._child.wait()
            if self._stopping.is_set():
                return
            pause = _FIRST_PAUSE_S if time.monotonic() - began > _STEADY_S else min(pause * 2, _LONGEST_PAUSE_S)
            self._say(f"{self._child.name} {how_it_ended(status)}; it is started again")
            if self._stopping.wait(pause):
                return
            self._prepare()
            with self._lock:
                if self._stopping.is_set():
                    return
                self._child.start(keep_log=True)
                self.restarts += 1

    def _prepare(self) -> None:
        try:
            self._before_restart()
        except LocalServerError as error:
            self._say(f"{error}; it is started anyway")

    def _say(self, text: str) -> None:
        with self._child.log.open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} keeper: {text}\n")
