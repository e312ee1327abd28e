"""A stack of one's own for a run, in a process of its own, and beside it a Slurm where the site asks for one.

``python -m hpcbench.host RUN`` until SIGTERM. What it knows of its functions goes into ``raw/host.jsonl``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

from functions.local.stack import Stack
from hpcbench.local_slurm import SlurmServer
from hpcbench.raw import RawFile
from hpcbench.run_folder import HOST_RAW, SITE_FILE, STACK_FOLDER, TARGET_FILE
from hpcbench.sites import Site, load_site
from hpcbench.target import Target, User

SAMPLE_S = 0.5


def main(run: Path) -> None:
    """Start, tell where everything is, note the instances until asked to end."""
    site = load_site(run / SITE_FILE)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with ExitStack() as undo:
        slurm = None
        if site.slurm is not None and site.slurm.local:
            slurm = SlurmServer(run / STACK_FOLDER / "slurm")
            slurm.start()
            undo.callback(slurm.stop)
        stack = undo.enter_context(Stack(run / STACK_FOLDER, progress=_say, store=site.service.store))
        stack.wait_for_notifications()
        _target(stack, site, slurm).write(run / TARGET_FILE)
        _say("up")
        raw = RawFile(run, HOST_RAW)
        while not ended.wait(SAMPLE_S):
            _note(stack, raw)
        raw.close()


def _target(stack: Stack, site: Site, slurm: SlurmServer | None) -> Target:
    ceph, rabbit = stack.ceph.endpoints, stack.rabbit.endpoints
    users = []
    for number in range(site.service.users):
        account = stack.ceph.create_user(str(uuid.uuid5(uuid.NAMESPACE_DNS, f"user{number}.bench")))
        users.append(User(account.uid, account.access_key, account.secret_key.get_secret_value()))
    password = quote(rabbit.password.get_secret_value(), safe="")
    return Target(
        s3_url=ceph.s3_url,
        region=ceph.region,
        gateway_url=stack.gateway_url,
        repository_url=stack.repository_url,
        repository_bucket="cvmfs",
        domain="infn.it",
        users=tuple(users),
        reader=User(ceph.service.uid, ceph.service.access_key, ceph.service.secret_key.get_secret_value()),
        amqp_url=rabbit.amqp_url.get_secret_value(),
        management_url=rabbit.management_url.replace("://", f"://{rabbit.username}:{password}@"),
        local_pid=os.getpid(),
        slurm_conf="" if slurm is None else str(slurm.configuration),
    )


def _note(stack: Stack, raw: RawFile) -> None:
    status = stack.runtime.status()
    raw.write(
        "instances",
        at=time.time(),
        services={
            name: [each.ready, each.starting, each.in_flight, each.waiting] for name, each in status.services.items()
        },
        cold_starts={
            name: [round(seconds, 3) for seconds in each.cold_starts_s] for name, each in status.services.items()
        },
        crashed=sum(each.crashed for each in status.services.values()),
        radosgw_restarts=stack.ceph.restarts,
        pids={name: each.pids for name, each in status.services.items()},
    )
    raw.flush()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
