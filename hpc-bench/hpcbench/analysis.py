"""Raw data to one row per upload and the counts that must be zero; nothing else is known here, so anyone can repeat it.

What counts as lost, duplicated, late or wrong is in ``verdict.py``. An upload that never was visible is *superseded* if
a later one on the same key came first, which is how it should be.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpcbench.clocks import Correction, Reading
from hpcbench.contents import Contents
from hpcbench.paths import path_of
from hpcbench.plan import Operation, Plan
from hpcbench.plan_files import read_plan
from hpcbench.planning import operations
from hpcbench.raw import Line, read
from hpcbench.uploads import Place, Row, Upload
from hpcbench.verdict import Verdict


@dataclass(slots=True)
class Run:
    """All that the raw data of a run say, times corrected; `failures` counts operations that failed, by reason."""

    plan: Plan
    uploads: list[Upload]
    verdict: Verdict
    failures: Counter[str]
    superseded: int
    lines: dict[str, list[Line]]
    clock_error_s: float
    revisions: dict[str, list[Line]]
    host_offsets: dict[str, float]

    @property
    def puts(self) -> list[Upload]:
        """Uploads, deletions left out."""
        return [upload for upload in self.uploads if upload.kind != "delete"]


def analyse(run: Path) -> Run:
    """Everything from the raw data of one run."""
    return analyse_lines(read_plan(run), read(run))


def analyse_lines(plan: Plan, raw: Iterable[Line]) -> Run:
    """The same from lines, however they were come by.

    Each upload begins with what its client saw, times corrected. The rest is filled in step by step: `last` by
    ``_history``, `notified` by ``_notified``, `visible` and `revision` by ``_visible``, `stored` by ``_stored``, and
    `readable` by ``Contents.check``. The order counts: archives are entered into `Contents` by `last`, whether a row is
    entered again is told by `visible` before it is set, and nobody has read an upload before it was `visible`.
    """
    lines: dict[str, list[Line]] = defaultdict(list)
    for line in raw:
        lines[line["k"]].append(line)
    corrections = _corrections(lines["clock"])
    fqrn_of = {each.bucket: each.fqrn for each in plan.repositories}
    done = [line for line in lines["op"] if line["kind"] != "list"]
    loads = {task.index: task.load for task in plan.tasks}
    succeeded = sorted((line for line in done if line["status"] // 100 == 2), key=lambda line: line["op"])
    uploads = [_upload(line, fqrn_of, loads, corrections) for line in succeeded]
    doubtful = _doubtful(plan, fqrn_of, {line["op"] for line in succeeded})
    history = _history(uploads)
    verdict = Verdict()
    revisions = _revisions(lines["revision"])
    _notified(lines["notified"], uploads, fqrn_of)
    contents = Contents(uploads, plan.scenario.seed, doubtful=doubtful)
    tree = _visible(revisions, history, contents, verdict)
    _stored(lines["stored"], revisions, history, corrections.get("store", Correction(())))
    late_after_s = plan.scenario.late_after_s
    for upload in uploads:
        place = upload.place
        verdict.judge_upload(upload, tree.get(place), doubtful=place in doubtful, late_after_s=late_after_s)
    contents.check(lines["read"], tree.keys(), corrections, verdict)
    verdict.judge_refused(lines)
    return Run(
        plan,
        uploads,
        verdict,
        Counter(_failure(line) for line in lines["op"] if line["status"] // 100 != 2),
        sum(not upload.last and upload.visible is None for upload in uploads),
        lines,
        max((correction.error_s for correction in corrections.values()), default=0.0),
        revisions,
        {host: correction(0.0) for host, correction in corrections.items()},
    )


def _failure(line: Line) -> str:
    """Why an operation failed, in the same words for all that failed alike."""
    return f"{line['kind']}: " + (f"answered {line['status']}" if line["status"] else str(line.get("why", "no answer")))


def _doubtful(plan: Plan, fqrn_of: Mapping[str, str], succeeded: Collection[int]) -> dict[Place, list[Operation]]:
    """Planned operations of which nobody knows whether they came to pass: they failed, or their task was stopped."""
    found: dict[Place, list[Operation]] = defaultdict(list)
    for operation in operations(plan):
        if operation.number not in succeeded and operation.kind != "list":
            found[fqrn_of[operation.bucket], path_of(operation.key)].append(operation)
    return found


def _corrections(lines: Iterable[Line]) -> dict[str, Correction]:
    readings: dict[str, list[Reading]] = defaultdict(list)
    for line in lines:
        readings[line["host"]].append(Reading(line["at"], line["offset"], line["rtt"]))
    return {host: Correction(each) for host, each in readings.items()}


def _upload(
    line: Line, fqrn_of: Mapping[str, str], loads: Mapping[int, str], clocks: Mapping[str, Correction]
) -> Upload:
    correct = clocks.get(line["host"], Correction(()))
    return Upload(
        number=line["op"],
        fqrn=fqrn_of[line["bucket"]],
        path=path_of(line["key"]),
        key=line["key"],
        kind=line["kind"],
        size=line["size"],
        etag=line["etag"],
        load=loads[line["task"]],
        start=correct(line["start"]),
        end=correct(line["end"]),
        files=line.get("members", 1),
    )


def _history(uploads: Iterable[Upload]) -> dict[Place, list[Upload]]:
    """All uploads to one place, in order; only the last of them is `last`."""
    history: dict[Place, list[Upload]] = defaultdict(list)
    for upload in uploads:
        for earlier in history[upload.place][-1:]:
            earlier.last = False
        history[upload.place].append(upload)
    return history


def _revisions(lines: Iterable[Line]) -> dict[str, list[Line]]:
    by_repository: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_repository[line["fqrn"]].append(line)
    for each in by_repository.values():
        each.sort(key=lambda line: line["fetched"])
    return by_repository


def _notified(lines: Iterable[Line], uploads: Iterable[Upload], fqrn_of: Mapping[str, str]) -> None:
    created: dict[tuple[str, str, str], float] = {}
    removed: dict[tuple[str, str], list[float]] = defaultdict(list)
    for line in lines:
        fqrn = fqrn_of.get(line["bucket"], "")
        if line["event"].startswith("ObjectRemoved"):
            removed[fqrn, line["key"]].append(line["at"])
        else:
            created.setdefault((fqrn, line["key"], line["etag"]), line["at"])
    for upload in uploads:
        if upload.kind == "delete":
            upload.notified = next((at for at in removed[upload.fqrn, upload.key] if at >= upload.start), None)
        else:
            upload.notified = created.get((upload.fqrn, upload.key, upload.etag))


def _visible(
    revisions: Mapping[str, list[Line]],
    history: Mapping[Place, list[Upload]],
    contents: Contents,
    verdict: Verdict,
) -> dict[Place, Row]:
    """Note the first revision of each upload; returns the last row of every path that is still there."""
    tree: dict[Place, Row] = {}
    for fqrn, each in revisions.items():
        for line in each:
            for row in map(Row._make, line["there"]):
                place = fqrn, row.path
                upload = next((known for known in history.get(place, ()) if known.etag == row.etag), None)
                may_be = upload is None and contents.may_be(place, row.etag)
                verdict.judge_entry(fqrn, line["revision"], row, upload, may_be=may_be)
                if upload is not None and upload.visible is None:
                    upload.visible, upload.revision = line["fetched"], line["revision"]
                tree[place] = row
            for path in line["gone"]:
                tree.pop((fqrn, path), None)
                for upload in history.get((fqrn, path), ()):
                    if upload.kind == "delete" and upload.visible is None and upload.start <= line["fetched"]:
                        upload.visible, upload.revision = line["fetched"], line["revision"]
    return tree


def _stored(
    lines: Iterable[Line],
    revisions: Mapping[str, list[Line]],
    history: Mapping[Place, list[Upload]],
    correct: Correction,
) -> None:
    written = {(line["fqrn"], line["object"]): correct(line["at"]) for line in lines}
    for fqrn, each in revisions.items():
        for line in each:
            for row in map(Row._make, line["there"]):
                for upload in history.get((fqrn, row.path), ()):
                    if (
                        upload.etag == row.etag
                        and (at := written.get((fqrn, row.object))) is not None
                        and at >= upload.start - 0.1
                    ):
                        upload.stored = at
