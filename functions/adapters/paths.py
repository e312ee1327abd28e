"""Which paths a BlobStore takes: the same rule for every implementation."""

from __future__ import annotations

import re

from functions.errors import Permanent

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]+"
_PLAIN = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*")


def is_plain(path: str) -> bool:
    """Whether a path has no empty, ``.`` or ``..`` segments, no control characters, and is valid Unicode.

    Only such paths mean the same thing to S3, to a folder and to a URL, and only such paths survive obstore, which
    drops a slash at either end and refuses the rest (``object_store: Path::parse``).
    """
    return _PLAIN.fullmatch(path) is not None


def checked(path: str) -> str:
    """`path` itself; raises Permanent if no store could keep a file under it."""
    if not is_plain(path):
        raise Permanent(f"{path!r} cannot be the path of a stored file")
    return path
