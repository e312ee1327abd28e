"""Where in its repository the object of a key is found."""

from __future__ import annotations

AREA = "cvmfs/"
ARCHIVE = ".tar"


def path_of(key: str) -> str:
    """``cvmfs/a/b`` is ``/a/b``; an archive ``cvmfs/a/b.tar`` is the tree ``/a/b``. Keys are those of a plan."""
    return "/" + key.removeprefix(AREA).removesuffix(ARCHIVE)
