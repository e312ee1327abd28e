"""What a RadosGW that did not end properly leaves in the storage, and how to clear it before the next one starts.

- Its *watches* on ``default.rgw.control``: every change of users, buckets and policies waits for the dead watcher to
  answer, in steps of 10 s (28 s measured for one bucket). Blocklisting its address ends them.
- Its *locks* on the queues of persistent topics (``rgw_notify.cc``: taken for 90 s, also when it ends properly): nobody
  else delivers until they expire. Breaking them leaves the 30 s after which a RadosGW first looks for queues.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from subprocess import CompletedProcess

_CONTROL_POOL = "default.rgw.control"
_CONTROL_OBJECT = "notify.0"  # every RadosGW watches all eight from one address
_QUEUES = ("-p", "default.rgw.log", "-N", "notif")
_QUEUE_LIST = "queues_list_object"
_WATCHER = re.compile(r"^watcher=(\S+)", re.MULTILINE)

Run = Callable[..., CompletedProcess[str]]
"""Runs a Ceph program by name with arguments, and returns its status and output."""


def clear_dead_radosgw(run: Run) -> None:
    """End the watches and break the locks; only safe while no RadosGW runs. Pools that do not exist yet are fine."""
    watchers = run("rados", "-p", _CONTROL_POOL, "listwatchers", _CONTROL_OBJECT).stdout
    for address in sorted(set(_WATCHER.findall(watchers))):
        run("ceph", "--connect-timeout", "30", "osd", "blocklist", "add", address)
    for queue in run("rados", *_QUEUES, "ls").stdout.split():
        if queue != _QUEUE_LIST:
            for locker in _lockers(run, queue):
                break_lock = ("lock", "break", queue, f"{queue}_lock", locker["name"])
                run("rados", *_QUEUES, *break_lock, "--lock-cookie", locker["cookie"])


def delivering(run: Run, topics: Iterable[str]) -> bool:
    """Whether a RadosGW has taken the queues of all these persistent topics and so delivers from them."""
    return all(any(_lockers(run, topic)) for topic in topics)


def _lockers(run: Run, queue: str) -> Iterator[dict[str, str]]:
    state = run("rados", *_QUEUES, "lock", "info", queue, f"{queue}_lock")
    if state.returncode == 0:
        yield from json.loads(state.stdout).get("lockers", ())
