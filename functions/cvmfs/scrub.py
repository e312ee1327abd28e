"""Every stored object, referred to or not: whether its name is one, and whether its bytes are what the name says.

Source: ``swissknife_scrub.cc`` (``CheckPathAndExtractHash``, ``FileCallback``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import islice

from functions.cvmfs.address import Address
from functions.cvmfs.errors import AddressError
from functions.cvmfs.findings import Finding, Severity, error, warning
from functions.cvmfs.reader import Fetch

OBJECTS = "data/"
"""Where objects are stored."""

_STAGING = "data/txn/"
"""Where official tools keep what is not an object yet."""

_BATCH = 256


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """The outcome of a scrub: how many objects were read, their stored bytes, and what was found."""

    objects: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is broken; warnings may be left."""
        return all(finding.severity is not Severity.ERROR for finding in self.findings)


def scrub(
    paths: Iterable[str],
    fetch: Fetch,
    *,
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Scrubbed:
    """Read and hash the objects among `paths`, which are all that is stored below ``data/``.

    What disappears meanwhile is passed over. `progress` is told how many have been read. Errors of `fetch` are passed
    on.
    """
    findings: list[Finding] = []
    objects = stored_bytes = 0
    run = map if executor is None else executor.map
    waiting = iter(_addresses(paths, findings))
    while batch := list(islice(waiting, _BATCH)):
        for size, finding in run(lambda address: _look(address, fetch), batch):
            objects += size is not None
            stored_bytes += size or 0
            findings += [] if finding is None else [finding]
        if progress is not None:
            progress(objects)
    return Scrubbed(objects, stored_bytes, tuple(findings))


def _addresses(paths: Iterable[str], findings: list[Finding]) -> Iterable[Address]:
    for path in paths:
        if path.startswith(_STAGING):
            findings.append(warning(path, "left by a publish that did not end"))
            continue
        try:
            yield Address.from_path(path)
        except AddressError as err:
            findings.append(error(path, err))


def _look(address: Address, fetch: Fetch) -> tuple[int | None, Finding | None]:
    body = fetch(address.path)
    if body is None:
        return None, None
    actual = address.digest.algorithm.digest(body)
    wrong = None if actual == address.digest else error(address.path, f"the stored bytes hash to {actual}")
    return len(body), wrong
