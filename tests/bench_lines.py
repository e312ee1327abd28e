"""Raw data of a run that never was: what tasks and the probe would have written, one fact at a time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hpcbench.content import base_text, content, digest
from hpcbench.plan_files import write_plan
from hpcbench.planning import decide
from hpcbench.scenario import Load, Scenario

DOMAIN = "infn.it"


class Lines:
    """A run of a few repositories with one load; every method adds lines, `lines` has them all."""

    def __init__(self, folder: Path, *, repositories: int = 1, late_after_s: float = 10.0, **more: Any) -> None:
        scenario = Scenario(
            "story",
            "a story",
            (Load("users", "put", files=4),),
            repositories=repositories,
            late_after_s=late_after_s,
            **more,
        )
        self.folder = folder
        self.plan = decide(scenario, domain=DOMAIN, users=1, prefix="b")
        write_plan(folder, self.plan)
        self.base = base_text(scenario.seed)
        self.lines: list[dict[str, Any]] = []

    def add(self, k: str, **fields: Any) -> None:
        self.lines.append({"k": k, **fields})

    def body(self, number: int, size: int = 100) -> bytes:
        return content(number, size, self.base)

    def etag(self, number: int, size: int = 100) -> str:
        return hashlib.md5(self.body(number, size), usedforsecurity=False).hexdigest()

    def put(self, number: int, name: str, *, at: float, size: int = 100, took: float = 0.1, **more: Any) -> None:
        fields = {"kind": "put", "status": 200, "host": "node", "task": 1, **more}
        etag = "" if fields["kind"] == "delete" else self.etag(number, size)
        self.add(
            "op",
            op=number,
            bucket="b0000",
            key=f"cvmfs/{name}",
            size=size,
            etag=etag,
            start=at - took,
            end=at,
            **fields,
        )

    def delete(self, number: int, name: str, *, at: float) -> None:
        self.put(number, name, at=at, kind="delete", status=204)

    def notified(self, number: int, name: str, *, at: float) -> None:
        self.add(
            "notified", bucket="b0000", key=f"cvmfs/{name}", etag=self.etag(number), event="ObjectCreated:Put", at=at
        )

    def revision(
        self, revision: int, *, at: float, there: dict[str, int] | None = None, gone: tuple[str, ...] = ()
    ) -> None:
        rows = [[f"/{name}", self.etag(number), 100, f"sha{number}"] for name, number in (there or {}).items()]
        paths = [f"/{name}" for name in gone]
        self.add("revision", fqrn="b0000.infn.it", revision=revision, fetched=at, heard=at, there=rows, gone=paths)

    def stored(self, number: int, *, at: float) -> None:
        self.add("stored", fqrn="b0000.infn.it", object=f"sha{number}", at=at)

    def read(self, name: str, number: int, *, by: str = "end", at: float = 100.0, body: bytes | None = None) -> None:
        found = digest(self.body(number) if body is None else body)
        self.add("read", by=by, fqrn="b0000.infn.it", path=f"/{name}", sha256=found, size=100, at=at, host="node")

    def clock(self, host: str, offset: float) -> None:
        self.add("clock", host=host, at=0.0, offset=offset, rtt=0.002)
