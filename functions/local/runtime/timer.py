"""The adapter of a PingSource: posts a CloudEvent to a Service whenever its schedule says so.

As the real one (eventing 1.22): every post is an event of its own, the schedule does not wait for its end, and five
further tries follow where the answer is 404, 413, 425, 429, 502, 503 or 504, or there is none. A time that passes while
the timer does not run is not made up for.
"""

from __future__ import annotations

import base64
import threading
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from events.types import PING
from functions.local.runtime.errors import SinkError
from functions.local.runtime.manifests import Timer
from functions.local.runtime.messages import Request
from functions.local.runtime.schedules import next_time
from functions.local.runtime.source import RETRIED, Sink

RETRIES = 5
FIRST_WAIT_S = 0.05
_POSTS_AT_ONCE = 4
_LONGEST_SLEEP_S = 60.0
"""The wall clock may be set while a timer sleeps, so it looks at it at least this often."""


@dataclass(frozen=True, slots=True)
class TimerStatus:
    """One timer at one moment: its next time as ISO-8601 text, posts that were taken with 2xx, posts that were not."""

    schedule: str
    next_time: str
    sent: int
    failed: int


class EventTimer:
    """A running timer; `clock` gives the time, aware."""

    def __init__(self, timer: Timer, sink: Sink, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.timer = timer
        self._sink = sink
        self._clock = clock
        self._stopping = threading.Event()
        self._posts = ThreadPoolExecutor(_POSTS_AT_ONCE, thread_name_prefix=f"timer {timer.name}")
        self._lock = threading.Lock()
        self._next: datetime | None = None
        self._sent = 0
        self._failed = 0
        self._thread = threading.Thread(target=self._run, name=f"timer {timer.name}", daemon=True)

    def start(self) -> None:
        """Begin to wait for the first time."""
        self._thread.start()

    def stop(self) -> None:
        """Post no more; posts under way run to their end without anybody waiting for them."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._posts.shutdown(wait=False, cancel_futures=True)

    def ring(self) -> None:
        """Post once now, in the background, as if the time had come."""
        self._posts.submit(self._post, ping_request(self.timer, now=self._clock(), identity=str(uuid.uuid4())))

    def status(self) -> TimerStatus:
        """What comes next and what it has counted."""
        with self._lock:
            upcoming = "" if self._next is None else self._next.isoformat()
            return TimerStatus(self.timer.schedule, upcoming, self._sent, self._failed)

    def _run(self) -> None:
        while not self._stopping.is_set():
            due = next_time(self.timer.schedule, self.timer.timezone, self._clock())
            with self._lock:
                self._next = due
            if not self._sleep_until(due):
                return
            self.ring()

    def _sleep_until(self, due: datetime) -> bool:
        """Whether the time came; False if the timer is being stopped."""
        while (left := (due - self._clock()).total_seconds()) > 0:
            if self._stopping.wait(min(left, _LONGEST_SLEEP_S)):
                return False
        return not self._stopping.is_set()

    def _post(self, request: Request) -> None:
        for attempt in range(1 + RETRIES):
            if attempt and self._stopping.wait(FIRST_WAIT_S * 2**attempt):
                break
            status = self._ask(request)
            if status is not None and status not in RETRIED:
                with self._lock:
                    if 200 <= status < 300:
                        self._sent += 1
                    else:
                        self._failed += 1
                return
        with self._lock:
            self._failed += 1

    def _ask(self, request: Request) -> int | None:
        try:
            return self._sink.send(request).status
        except SinkError:
            return None


def ping_request(timer: Timer, *, now: datetime, identity: str) -> Request:
    """The POST of a timer: a CloudEvent in binary mode around the data of the manifest."""
    headers: dict[str, str] = {
        "ce-specversion": "1.0",
        "ce-type": PING,
        "ce-source": f"/apis/v1/namespaces/{timer.namespace}/pingsources/{timer.name}",
        "ce-id": identity,
        "ce-time": now.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        **_extensions(timer.extensions),
    }
    body = base64.b64decode(timer.data_base64) if timer.data_base64 else timer.data.encode()
    if body:
        headers["Content-Type"] = timer.content_type or "application/json"
    return Request(path=timer.path, headers=headers, body=body)


def _extensions(overrides: Mapping[str, str]) -> dict[str, str]:
    return {f"ce-{name}": value for name, value in overrides.items()}
