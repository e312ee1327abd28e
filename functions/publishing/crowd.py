"""Whether so much waits behind a request that it takes some of it along.

A request through the event source costs more than what is done for a small file: conversion, HTTP, a thread, a confirm
and an acknowledgement of its own. Where few wait nobody is taken along, so that they are spread over all instances.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

LOOK_AGAIN_S = 0.5
"""Seconds for which a process believes that nobody waits; asking costs as much as a wake-up that finds nothing."""


@dataclass(slots=True)
class Crowd:
    """What a process knows of those who wait; used by several threads, of which the last look counts.

    `least` messages make a crowd; a request takes `along` of them, or nobody ever does if that is 0.
    """

    least: int
    along: int
    _nobody_until: float = field(default=0.0, init=False)

    def is_there(self, now_s: float, waiting: Callable[[], int]) -> bool:
        """Whether there is a crowd; `now_s` is of any steady clock, `waiting` asks the broker."""
        if not self.along or now_s < self._nobody_until:
            return False
        if waiting() >= self.least:
            return True
        self._nobody_until = now_s + LOOK_AGAIN_S
        return False
