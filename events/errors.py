"""What can be wrong with an event, as one tree.

::

    EventError                an event, notification or message is malformed; names every fault
    └── UnknownTypeError      its type is not one of ours
"""

from __future__ import annotations

from collections.abc import Iterable

FAULT_LIMIT = 1000
"""Characters of one fault: some quote what was received, and a parked message carries the text as an AMQP header."""


class EventError(Exception):
    """An event is malformed; `faults` names each thing that is wrong, as ``data.repository: what and why``."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(fault if len(fault) <= FAULT_LIMIT else f"{fault[:FAULT_LIMIT]}…" for fault in faults)
        super().__init__("; ".join(self.faults))


class UnknownTypeError(EventError):
    """The type of an event is not in the catalogue."""
