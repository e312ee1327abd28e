"""Everything that is stored of a repository deleted, page after page; begun again it goes on where it was.

The manifest goes first: from then on nobody mounts the repository, and whoever is about to publish loses the swap.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice

from functions.cvmfs.errors import FormatError
from functions.cvmfs.manifest import SignedManifest
from functions.ports import BlobStore
from functions.publishing.head import MANIFEST_PATH

ERRAND = 500
"""Files that are deleted side by side before the time is looked at."""

REVISIONS_LEFT_FREE = 1000
"""Numbers that a repository made again leaves out.

Publishers that were at work when the last revision was read may have made a few more, which somebody may have seen.
"""


@dataclass(frozen=True, slots=True)
class Swept:
    """How many files were deleted, and whether none is left."""

    files: int
    complete: bool


def last_revision(store: BlobStore) -> int:
    """The number of the live revision; 0 if there is no manifest, or none that can be read."""
    blob = store.get(MANIFEST_PATH)
    try:
        return 0 if blob is None else SignedManifest.from_bytes(blob.body).unverified.revision
    except FormatError:
        return 0


def first_free(last: int) -> int:
    """The number after which the revisions of a repository made again are counted; `last` 0 is a new name."""
    return last + REVISIONS_LEFT_FREE if last else 0


def sweep(store: BlobStore, executor: Executor, *, is_over: Callable[[], bool]) -> Swept:
    """Delete the manifest, then all files, until nothing is left or `is_over`; raises StoreUnavailable."""
    store.delete(MANIFEST_PATH)
    listing = store.list("")
    files = 0
    while paths := [info.path for info in islice(listing, ERRAND)]:
        if is_over():
            return Swept(files, complete=False)
        list(executor.map(store.delete, paths))
        files += len(paths)
    return Swept(files, complete=True)
