"""Clocks of different nodes brought to that of the probe's host, by an exchange of datagrams as NTP does it.

A node asks several times and keeps the exchange that took the shortest: its answer was made between asking and hearing,
so half of that time is the largest error there can be.
"""

from __future__ import annotations

import bisect
import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

EXCHANGES = 8
TIMEOUT_S = 1.0

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Reading:
    """At local time `at` the probe's clock was `offset` seconds ahead, plus or minus half of `round_trip` seconds."""

    at: float
    offset: float
    round_trip: float


class ClockServer:
    """Tells the time to whoever asks by UDP; on `address`, at a free port."""

    def __init__(self, address: str, clock: Clock = time.time) -> None:
        self._clock = clock
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.port: int = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, name="clock", daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self._socket.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                nonce, sender = self._socket.recvfrom(64)
                self._socket.sendto(json.dumps([nonce.decode("ascii", "replace"), self._clock()]).encode(), sender)


def measure(address: str, port: int, clock: Clock = time.time) -> Reading | None:
    """The difference to the probe's clock now; None if it does not answer."""
    best: Reading | None = None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(TIMEOUT_S)
        asking.connect((address, port))
        for _ in range(EXCHANGES):
            nonce = secrets.token_hex(8)
            asked = clock()
            try:
                asking.send(nonce.encode())
                answer = json.loads(asking.recv(512))
            except (OSError, ValueError):
                continue
            heard = clock()
            if answer[0] == nonce and (best is None or heard - asked < best.round_trip):
                best = Reading((asked + heard) / 2, answer[1] - (asked + heard) / 2, heard - asked)
    return best


class Correction:
    """Times of one host as the probe's host would have read them; between two readings the drift is a straight line."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = sorted(readings, key=lambda reading: reading.at)

    @property
    def error_s(self) -> float:
        """The largest error that corrected times can have; 0 for the probe's own host."""
        return max((reading.round_trip / 2 for reading in self._readings), default=0.0)

    def __call__(self, at: float) -> float:
        """The corrected time."""
        readings = self._readings
        if not readings:
            return at
        place = bisect.bisect_left([reading.at for reading in readings], at)
        if place in {0, len(readings)}:
            return at + readings[min(place, len(readings) - 1)].offset
        before, after = readings[place - 1], readings[place]
        weight = (at - before.at) / (after.at - before.at)
        return at + before.offset + weight * (after.offset - before.offset)
