"""The two ways in which Kubernetes objects write durations."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator

_ISO = re.compile(r"P(?:(\d+(?:\.\d+)?)D)?(?:T(?:(\d+(?:\.\d+)?)H)?(?:(\d+(?:\.\d+)?)M)?(?:(\d+(?:\.\d+)?)S)?)?")
_ISO_UNITS_S = (86400.0, 3600.0, 60.0, 1.0)
_GO = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_GO_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_GO_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

SHORTEST_BACKOFF_S = 0.1
"""The event source rounds shorter delays to zero and then dies of them, at once and for ever
(eventing-rabbitmq issue 830)."""


def backoff_seconds(text: object) -> float:
    """Seconds of an ISO-8601 duration such as ``PT0.2S``; raises ValueError if it is none or shorter than 0.1 s."""
    if isinstance(text, float):
        return text
    match = _ISO.fullmatch(text) if isinstance(text, str) else None
    if match is None or not any(match.groups()):
        raise ValueError(f"{text!r} is not an ISO-8601 duration such as PT0.2S")
    seconds = sum(float(number or 0) * unit for number, unit in zip(match.groups(), _ISO_UNITS_S, strict=True))
    if seconds < SHORTEST_BACKOFF_S:
        raise ValueError(f"{text!r} is shorter than {SHORTEST_BACKOFF_S} s, which the event source does not survive")
    return seconds


def go_seconds(text: object) -> float:
    """Seconds of a Go duration such as ``60s`` or ``1m30s``; raises ValueError if it is none."""
    if isinstance(text, float):
        return text
    if not isinstance(text, str) or _GO.fullmatch(text) is None:
        raise ValueError(f"{text!r} is not a duration such as 60s")
    return sum(float(number) * _GO_UNITS_S[unit] for number, unit in _GO_PART.findall(text))


BackoffSeconds = Annotated[float, BeforeValidator(backoff_seconds)]
GoSeconds = Annotated[float, BeforeValidator(go_seconds)]
