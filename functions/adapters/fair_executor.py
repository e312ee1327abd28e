"""Threads that many share fairly: one turn each, however much one of them has to do.

A pool of threads works off one queue. Whoever submits 100,000 uploads makes everybody after it wait for all of them.
Here each submitting thread, which is a request, has a queue of its own, and the workers go round.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_Task = tuple[Future[Any], Callable[[], Any]]


class FairExecutor(Executor):
    """An Executor with `workers` threads; of those who wait each gets the next free thread in turn.

    Within one submitting thread the order is kept. `map` is that of every Executor.
    """

    def __init__(self, workers: int, thread_name_prefix: str = "") -> None:
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=thread_name_prefix)
        self._lanes: OrderedDict[int, deque[_Task]] = OrderedDict()
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call behind those of this very thread."""
        future: Future[T] = Future()
        with self._lock:
            self._lanes.setdefault(threading.get_ident(), deque()).append((future, lambda: fn(*args, **kwargs)))
        # One ticket for each task: which task it is for is decided when a thread is free.
        self._pool.submit(self._work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads, after what was submitted unless that is cancelled."""
        if cancel_futures:
            with self._lock:
                lanes, self._lanes = self._lanes, OrderedDict()
            for lane in lanes.values():
                for future, _ in lane:
                    future.cancel()
        self._pool.shutdown(wait)

    def _work(self) -> None:
        task = self._next()
        if task is None or not task[0].set_running_or_notify_cancel():
            return
        future, call = task
        try:
            outcome = call()
        except BaseException as err:  # noqa: BLE001 - whoever waits for the outcome gets it, whatever it is
            future.set_exception(err)
        else:
            future.set_result(outcome)

    def _next(self) -> _Task | None:
        with self._lock:
            if not self._lanes:
                return None
            thread, lane = self._lanes.popitem(last=False)
            task = lane.popleft()
            if lane:
                self._lanes[thread] = lane
            return task
