"""The dashboard: asks the gateway for repositories with CloudEvents, and waits until each can be mounted."""

from __future__ import annotations

import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from hpcbench.plan import REQUEST, RepositoryPlan
from hpcbench.target import Target
from hpcbench.tasks.work import Work

TYPE = "it.infn.datacloud.cvmfs.repository.requested"
PATIENCE_S = 1800.0
_POLL_S = 0.5
_TIMEOUT_S = 30.0


def play(work: Work) -> None:
    """Request this task's share of the repositories, at most `at_once` on their way; raises if one never comes."""
    count = sum(task.action == REQUEST for task in work.plan.tasks)
    mine = work.plan.repositories[work.task.index :: count]
    with ThreadPoolExecutor(work.task.at_once) as threads:
        for outcome in [threads.submit(_request, work, each) for each in mine]:
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


def _request(work: Work, repository: RepositoryPlan) -> None:
    """Ask for a repository, wait until it can be mounted, and note both."""
    began = time.time()
    status = _ask(work.target, repository)
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


def _ask(target: Target, repository: RepositoryPlan) -> int:
    """The gateway's status; urllib raises what is no success."""
    subject = target.users[repository.user].subject
    headers = {"Content-Type": "application/cloudevents+json"}
    if target.token:
        headers["Authorization"] = f"Bearer {target.token}"
    body = json.dumps(event(repository, subject, datetime.now(UTC))).encode()
    request = urllib.request.Request(f"{target.gateway_url}/events", body, headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        status: int = answer.status
    return status


def _is_there(url: str) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=_TIMEOUT_S):
            return True
    except OSError:  # no answer, or one that says that there is nothing
        return False
