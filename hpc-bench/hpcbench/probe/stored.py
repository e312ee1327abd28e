"""When each object was stored, by the store's own clock: listed once, at the end, at no cost to the run."""

from __future__ import annotations

import time
from datetime import datetime

from hpcbench.raw import RawFile
from hpcbench.s3 import S3Client, S3Error

CLOCK_KEY = "hpc-bench-clock"


def note_stored(s3: S3Client, bucket: str, fqrn: str, raw: RawFile) -> int:
    """One line for every content-addressed object of a repository: its name and when it was written."""
    count = 0
    for key, modified in s3.modified(bucket, f"{fqrn}/data/"):
        name = key.removeprefix(f"{fqrn}/data/").replace("/", "")
        raw.write("stored", fqrn=fqrn, object=name, at=seconds(modified))
        count += 1
    return count


def note_store_clock(s3: S3Client, bucket: str, raw: RawFile, attempts: int = 5) -> None:
    """The store's clock against ours: an object put, and the time the store gave it."""
    best: tuple[float, float, float] | None = None
    try:
        for _ in range(attempts):
            asked = time.time()
            s3.put(bucket, CLOCK_KEY, b"")
            heard = time.time()
            given = [seconds(at) for key, at in s3.modified(bucket, CLOCK_KEY) if key == CLOCK_KEY]
            if given and (best is None or heard - asked < best[2]):
                best = (heard, (asked + heard) / 2 - given[0], heard - asked)
        s3.delete(bucket, CLOCK_KEY)
    except S3Error:
        return
    if best is not None:
        raw.write("clock", host="store", at=best[0], offset=best[1], rtt=best[2])


def seconds(iso: str) -> float:
    """Seconds since the epoch of a time as S3 lists it."""
    return datetime.fromisoformat(iso).timestamp()
