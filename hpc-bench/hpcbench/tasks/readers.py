"""Worker nodes that read while others upload: whatever a manifest leads to must be there, whole and right."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor

from hpcbench.content import digest
from hpcbench.tasks.repository import ReadError, Repository
from hpcbench.tasks.work import Work

FILES_PER_LOOK = 5
PATIENCE_S = 60.0
"""A reader that has found no file yet goes on that much longer."""


def play(work: Work) -> None:
    """`at_once` readers for the task's seconds; each finding is a line."""
    end = time.time() + work.task.seconds
    with ThreadPoolExecutor(work.task.at_once) as threads:
        for outcome in [threads.submit(_read, work, number, end) for number in range(work.task.at_once)]:
            outcome.result()


def _read(work: Work, number: int, end: float) -> None:
    dice = random.Random(work.task.index * 1000 + number)
    repositories = {
        each.fqrn: Repository(f"{work.target.repository_url}/{each.fqrn}") for each in work.plan.repositories
    }
    found_some = False
    while not work.stopped and (time.time() < end or (not found_some and time.time() < end + PATIENCE_S)):
        fqrn, repository = dice.choice(list(repositories.items()))
        began = time.time()
        try:
            manifest = repository.manifest()
            files = list(repository.files(manifest["C"]))
            for file in dice.sample(files, min(FILES_PER_LOOK, len(files))):
                asked = time.time()
                found = digest(repository.read(file))
                found_some = True
                work.raw.write(
                    "read",
                    by="reader",
                    fqrn=fqrn,
                    path=file.path,
                    size=file.size,
                    sha256=found,
                    start=asked,
                    at=time.time(),
                    host=work.raw.host,
                )
        except ReadError as err:
            work.raw.write("unreadable", fqrn=fqrn, why=str(err), at=time.time(), host=work.raw.host)
        work.raw.write("look", fqrn=fqrn, start=began, at=time.time(), host=work.raw.host)
        work.raw.flush()
    for repository in repositories.values():
        repository.close()
