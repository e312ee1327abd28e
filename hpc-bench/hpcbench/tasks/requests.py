"""The dashboard: asks the gateway for repositories with CloudEvents, and waits until each can be mounted."""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from hpcbench.plan import REQUEST, RepositoryPlan
from hpcbench.tasks.work import Work

TYPE = "it.infn.datacloud.cvmfs.repository.requested"
PATIENCE_S = 1800.0
_POLL_S = 0.5
_TIMEOUT_S = 30.0


def play(work: Work) -> None:
    """Request this task's share of the repositories, at most `at_once` on their way; raises if one never comes."""
    count = sum(task.action == REQUEST for task in work.plan.tasks)
    mine = work.plan.repositories[work.task.index :: count]
    on_their_way = threading.BoundedSemaphore(work.task.at_once * 4)
    with ThreadPoolExecutor(work.task.at_once * 4) as threads:
        for outcome in [threads.submit(_request, work, each, on_their_way) for each in mine]:
            outcome.result()


def event(repository: RepositoryPlan, subject: str, now: datetime) -> dict[str, object]:
    """The request as a structured CloudEvent; a bench's repositories are those of groups."""
    return {
        "specversion": "1.0",
        "id": f"{repository.fqrn}/requested/{subject}",
        "source": "/hpc-bench",
        "type": TYPE,
        "datacontenttype": "application/json",
        "subject": repository.fqrn,
        "time": now.isoformat(),
        "data": {
            "repository": repository.fqrn,
            "username": "bench",
            "subject": subject,
            "group": repository.bucket,
        },
    }


def _request(work: Work, repository: RepositoryPlan, on_their_way: threading.BoundedSemaphore) -> None:
    with on_their_way:
        subject = work.target.users[repository.user].subject
        began = time.time()
        request = urllib.request.Request(
            f"{work.target.gateway_url}/events",
            json.dumps(event(repository, subject, datetime.now(UTC))).encode(),
            {
                "Content-Type": "application/cloudevents+json",
                **({"Authorization": f"Bearer {work.target.token}"} if work.target.token else {}),
            },
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            status = answer.status
        asked = time.time()
        while not _is_there(f"{work.target.repository_url}/{repository.fqrn}/.cvmfspublished"):
            if time.time() - began > PATIENCE_S:
                raise TimeoutError(f"{repository.fqrn} was not created within {PATIENCE_S:.0f} s")
            time.sleep(_POLL_S)
        work.raw.write(
            "request",
            fqrn=repository.fqrn,
            start=began,
            end=asked,
            status=status,
            there=time.time(),
            host=work.raw.host,
        )
        work.raw.flush()


def _is_there(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S):
            return True
    except urllib.error.HTTPError:
        return False
    except OSError:
        return False
