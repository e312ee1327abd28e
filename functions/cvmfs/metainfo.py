"""The metainfo object of a repository: who runs it and what for, as JSON that no tool interprets but all can show."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from functions.cvmfs.errors import FormatError

METAINFO_LIMIT = 1 << 20
"""Bytes of the largest metainfo a client takes (``network/sink_mem.h: kMaxMemSize``)."""


def make_metainfo(
    *,
    administrator: str = "",
    email: str = "",
    organisation: str = "",
    description: str = "",
    url: str = "",
    stratum0: str = "",
    stratum1s: Sequence[str] = (),
    custom: Mapping[str, Any] | None = None,
) -> bytes:
    """The JSON text with the members of the template of ``cvmfs_server mkfs``; raises FormatError above 1 MiB.

    `custom` is any JSON object. The text is ASCII, so every name is safe to show.
    """
    members = {
        "administrator": administrator,
        "email": email,
        "organisation": organisation,
        "description": description,
        "url": url,
        "recommended-stratum0": stratum0,
        "recommended-stratum1s": list(stratum1s),
        "custom": dict(custom or {}),
    }
    content = json.dumps(members, indent=2).encode() + b"\n"
    if len(content) > METAINFO_LIMIT:
        raise FormatError(f"the metainfo has {len(content)} bytes, clients take at most {METAINFO_LIMIT}")
    return content
