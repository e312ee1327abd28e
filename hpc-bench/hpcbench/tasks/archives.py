"""Users who upload archives; they are made here, member by member, from the numbers of the plan."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hpcbench.content import archive
from hpcbench.plan import Operation
from hpcbench.plan_files import read_lanes
from hpcbench.s3 import S3Client, S3Error
from hpcbench.tasks.work import Work


def play(work: Work) -> None:
    """Upload every archive of the task, one after the other in each lane."""
    lanes = read_lanes(work.run, work.task)
    with ThreadPoolExecutor(len(lanes)) as threads:
        for outcome in [threads.submit(_upload, work, lane) for lane in lanes]:
            outcome.result()


def _upload(work: Work, lane: Sequence[Operation]) -> None:
    clients: dict[int, S3Client] = {}
    base = work.base
    for operation in lane:
        if work.stopped:
            return
        client = clients.setdefault(operation.user, work.s3(operation.user))
        body = archive(operation.number, work.task.members, operation.size, base)
        start = time.time()
        etag, status, failure = "", 200, dict[str, str]()
        try:
            etag = client.put(operation.bucket, operation.key, body)
        except S3Error as err:
            status, failure = err.status, {"why": str(err)}
        work.raw.write(
            "op",
            op=operation.number,
            task=work.task.index,
            bucket=operation.bucket,
            key=operation.key,
            kind=operation.kind,
            size=operation.size,
            members=work.task.members,
            bytes=len(body),
            etag=etag,
            start=start,
            end=time.time(),
            status=status,
            host=work.raw.host,
            **failure,
        )
        work.raw.flush()
