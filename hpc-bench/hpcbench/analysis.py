"""Raw data to one row per upload and the counts that must be zero; nothing else is known here, so anyone can repeat it.

An upload is *lost* if it was the last on its key and the tree that clients see in the end has something else there;
*superseded* if a later one on the same key came first, which is how it should be; *duplicated* if a revision enters it
again; *late* if it was visible later than the scenario allows. *Wrong* is every content, size or path that nobody
uploaded, every revision that does not verify and every file that could not be read. What a client may or may not have
done that failed or was stopped promises nothing, but what is there must still be what it would have uploaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench.clocks import Correction, Reading
from hpcbench.contents import Contents
from hpcbench.paths import path_of
from hpcbench.plan import Operation, Plan
from hpcbench.raw import Line, read
from hpcbench.uploads import Place, Upload, Verdict


@dataclass(slots=True)
class Run:
    """All that the raw data of a run say, times corrected."""

    plan: Plan
    uploads: list[Upload]
    verdict: Verdict
    failed: int
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
    return analyse_lines(Plan.read(run), read(run))


def analyse_lines(plan: Plan, raw: Iterable[Line]) -> Run:
    """The same from lines, however they were come by."""
    lines: dict[str, list[Line]] = defaultdict(list)
    for line in raw:
        lines[line["k"]].append(line)
    corrections = _corrections(lines["clock"])
    fqrn_of = {each.bucket: each.fqrn for each in plan.repositories}
    done = [line for line in lines["op"] if line["kind"] != "list"]
    failed = [line for line in done if line["status"] // 100 != 2]
    loads = {task.index: task.load for task in plan.tasks}
    succeeded = sorted((line for line in done if line["status"] // 100 == 2), key=lambda line: line["op"])
    uploads = [_upload(line, fqrn_of, loads, corrections) for line in succeeded]
    doubtful = _doubtful(plan, fqrn_of, {line["op"] for line in succeeded})
    history: dict[Place, list[Upload]] = defaultdict(list)
    for upload in uploads:
        for earlier in history[upload.place]:
            earlier.last = False
        history[upload.place].append(upload)
    verdict = Verdict()
    revisions = _revisions(lines["revision"])
    _notified(lines["notified"], uploads, fqrn_of)
    contents = Contents(uploads, plan.scenario.seed, doubtful=doubtful)
    tree = _visible(revisions, history, contents, verdict)
    _stored(lines["stored"], revisions, history, corrections.get("store", Correction(())))
    superseded = _judge(uploads, tree, doubtful, plan.scenario.late_after_s, verdict)
    contents.check(lines["read"], tree.keys(), corrections, verdict)
    for kind in ("invalid", "unreadable"):
        for line in lines[kind]:
            verdict.wrong += 1
            verdict.note(f"{line['fqrn']} {line.get('path', '')}: {line['why']}")
    return Run(
        plan,
        uploads,
        verdict,
        len(failed),
        superseded,
        lines,
        max((correction.error_s for correction in corrections.values()), default=0.0),
        revisions,
        {host: correction(0.0) for host, correction in corrections.items()},
    )


def _doubtful(plan: Plan, fqrn_of: Mapping[str, str], succeeded: Collection[int]) -> dict[Place, list[Operation]]:
    """Planned operations of which nobody knows whether they came to pass: they failed, or their task was stopped."""
    found: dict[Place, list[Operation]] = defaultdict(list)
    for operation in plan.operations():
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
) -> dict[Place, Any]:
    """Note the first revision of each upload; returns the last row of every path that is still there."""
    tree: dict[Place, Any] = {}
    for fqrn, each in revisions.items():
        for line in each:
            for row in line["there"]:
                _enter(line, row, history.get((fqrn, row[0]), ()), contents, verdict)
                tree[fqrn, row[0]] = row
            for path in line["gone"]:
                tree.pop((fqrn, path), None)
                for upload in history.get((fqrn, path), ()):
                    if upload.kind == "delete" and upload.visible is None and upload.start <= line["fetched"]:
                        upload.visible, upload.revision = line["fetched"], line["revision"]
    return tree


def _enter(line: Line, row: list[Any], known: Iterable[Upload], contents: Contents, verdict: Verdict) -> None:
    where = f"{line['fqrn']}{row[0]}"
    upload = next((each for each in known if each.etag == row[1]), None)
    if upload is None:
        if not contents.may_be((line["fqrn"], row[0]), row[1]):
            verdict.wrong += 1
            verdict.note(f"{where} in revision {line['revision']} comes from an object nobody uploaded")
    elif upload.visible is not None:
        verdict.duplicated += 1
        verdict.note(f"{where} is entered again by revision {line['revision']}")
    else:
        upload.visible, upload.revision = line["fetched"], line["revision"]
        if upload.kind in {"put", "multipart"} and row[2] != upload.size:
            verdict.wrong += 1
            verdict.note(f"{where} has {row[2]} bytes instead of {upload.size}")


def _stored(
    lines: Iterable[Line],
    revisions: Mapping[str, list[Line]],
    history: Mapping[Place, list[Upload]],
    correct: Correction,
) -> None:
    written = {(line["fqrn"], line["object"]): correct(line["at"]) for line in lines}
    for fqrn, each in revisions.items():
        for line in each:
            for path, etag, _, name in line["there"]:
                for upload in history.get((fqrn, path), ()):
                    if (
                        upload.etag == etag
                        and (at := written.get((fqrn, name))) is not None
                        and at >= upload.start - 0.1
                    ):
                        upload.stored = at


def _judge(
    uploads: Iterable[Upload],
    tree: Mapping[Place, Any],
    doubtful: Collection[Place],
    late_after_s: float,
    verdict: Verdict,
) -> int:
    superseded = 0
    for upload in uploads:
        place = upload.place
        if upload.visible is not None and upload.visible - upload.end > late_after_s:
            verdict.late += 1
        if not upload.last:
            superseded += upload.visible is None
            continue
        if place in doubtful:
            continue
        there = tree.get(place)
        if (there is None) != (upload.kind == "delete") or (there is not None and there[1] != upload.etag):
            verdict.lost += 1
            verdict.note(
                f"{upload.fqrn}{upload.path}: {upload.kind} {upload.number} is not what clients see in the end"
            )
    return superseded
