"""What the gateway itself refuses, as one tree; problems.py says how each is answered.

::

    GatewayError
    ├── BodyTooLargeError       a request is longer than the gateway reads
    ├── TypeNotAcceptedError    events of a type that outsiders may not send
    └── BindError               the gateway would be reachable by others before it can ask who they are
"""

from __future__ import annotations

from collections.abc import Iterable


class GatewayError(Exception):
    """Something that the gateway refuses to do."""


class BodyTooLargeError(GatewayError):
    """A request body is longer than the gateway reads."""


class TypeNotAcceptedError(GatewayError):
    """Events of types that outsiders may not send; `faults` names each one."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class BindError(GatewayError):
    """The address to listen on can be reached from other machines."""
