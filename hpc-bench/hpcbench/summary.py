"""A run in numbers: everything the report shows and other runs are compared with, as one JSON document."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from hpcbench.analysis import Run
from hpcbench.bars import judged
from hpcbench.limits import what_limited
from hpcbench.numbers import spread
from hpcbench.run_folder import PROVENANCE_FILE
from hpcbench.uploads import Upload

STAGES = ("put", "notified", "stored", "visible", "readable")


def summarise(run: Run, folder: Path) -> dict[str, Any]:
    """All numbers of a run."""
    scenario = run.plan.scenario
    begin, _ = window(run)
    last_put = max((upload.end for upload in run.uploads), default=begin)
    all_visible = max((upload.visible for upload in run.uploads if upload.visible is not None), default=last_put)
    files = sum(upload.files for upload in run.puts if upload.visible is not None)
    cpu = cpu_seconds(run, begin, all_visible)
    provenance = folder / PROVENANCE_FILE
    summary: dict[str, Any] = {
        "scenario": scenario.name,
        "title": scenario.title,
        "scale": scenario.scale,
        "provenance": json.loads(provenance.read_text()) if provenance.exists() else {},
        "began": begin,
        "counts": {
            "repositories": len(run.plan.repositories),
            "uploads": len(run.puts),
            "deletions": len(run.uploads) - len(run.puts),
            "files": files,
            "bytes": sum(upload.size * upload.files for upload in run.puts),
            "revisions": sum(line["type"] == "repository.published" for line in run.lines["event"]),
            "superseded": run.superseded,
            "failed": run.failures.total(),
            "read_by_clients": sum(line["by"] == "reader" for line in run.lines["read"]),
            "read_back": sum(line["by"] == "end" for line in run.lines["read"]),
        },
        "must_be_zero": {
            "lost": run.verdict.lost,
            "duplicated": run.verdict.duplicated,
            "late": run.verdict.late,
            "wrong": run.verdict.wrong,
            "not_read_back": run.verdict.not_read_back,
        },
        "failures": dict(run.failures.most_common()),
        "examples": run.verdict.examples,
        "stages": {stage: spread(stage_s(upload, stage) for upload in run.puts) for stage in STAGES},
        "quiet": spread(stage_s(upload, "visible") for upload in run.puts[1:]) if scenario.from_zero else {},
        "waits": waits(run.puts),
        "deletions_visible": spread(stage_s(upload, "visible") for upload in run.uploads if upload.kind == "delete"),
        "by_load": {
            load: spread(stage_s(upload, "visible") for upload in run.uploads if upload.load == load)
            for load in sorted({upload.load for upload in run.uploads})
        },
        "first_visible_s": _first(run),
        "seconds": {
            "load": round(last_put - begin, 2),
            "last_put_to_all_visible": round(max(0.0, all_visible - last_put), 2),
            "to_create_repositories": _creation_s(run),
        },
        "rates": {
            "put_per_s": round(len(run.uploads) / max(0.001, last_put - begin), 1),
            "visible_per_s": round(len(run.uploads) / max(0.001, all_visible - begin), 1),
        },
        "cpu_s": {name: round(seconds, 2) for name, seconds in sorted(cpu.items(), key=lambda item: -item[1])},
        "cpu_s_per_1000_files": {
            name: round(seconds * 1000 / files, 2)
            for name, seconds in cpu.items()
            if files and name in service_parts(cpu)
        },
        "machine": machine_use(run, begin, all_visible),
        "memory_mb": _memory(run),
        "instance_mb": _instances(run),
        "most_instances": _most_instances(run),
        "cold_starts_s": _cold_starts(run, begin),
        "most_queued": _most_queued(run),
        "clocks": {
            "error_s": round(run.clock_error_s, 5),
            "offset_s": {h: round(o, 5) for h, o in run.host_offsets.items()},
        },
        "crashed": max((line["crashed"] for line in run.lines["instances"]), default=0),
        "radosgw_restarts": max((line["radosgw_restarts"] for line in run.lines["instances"]), default=0),
        "tasks_failed": [line for line in run.lines["task"] if line.get("fault")],
    }
    summary["limited_by"] = what_limited(summary)
    summary["bars"] = judged(summary, scenario.bars)
    return summary


def stage_s(upload: Upload, stage: str) -> float | None:
    """Seconds from the return of the PUT to a stage; for ``put`` from its start to its return."""
    if stage == "put":
        return upload.end - upload.start
    at: float | None = getattr(upload, stage)
    return None if at is None else at - upload.end


def waits(uploads: list[Upload]) -> dict[str, float]:
    """Median seconds between neighbouring stages, of those uploads for which all stages are known."""
    whole = [each for each in uploads if None not in (each.notified, each.stored, each.visible)]
    if not whole:
        return {}
    found, before = {}, [each.end for each in whole]
    for stage in ("notified", "stored", "visible"):
        after = [getattr(each, stage) for each in whole]
        found[stage] = spread(late - early for late, early in zip(after, before, strict=True))["p50"]
        before = after
    return found


def window(run: Run) -> tuple[float, float]:
    """From the first operation to the last time of anything that was sampled."""
    begin = min((upload.start for upload in run.uploads), default=0.0)
    end = max((line["at"] for kind in ("sample", "instances") for line in run.lines[kind]), default=begin)
    return begin, max(end, max((upload.visible or upload.end for upload in run.uploads), default=begin))


def cpu_seconds(run: Run, begin: float, end: float) -> dict[str, float]:
    """CPU seconds of each component between two times."""
    samples = [line for line in run.lines["sample"] if begin - 1.5 <= line["at"] <= end + 1.5]
    spent: dict[str, float] = defaultdict(float)
    for before, after in pairwise(samples):
        for name, part in after["parts"].items():
            spent[name] += max(0.0, part["cpu_s"] - before["parts"].get(name, {"cpu_s": 0.0})["cpu_s"])
    return dict(spent)


def service_parts(parts: dict[str, Any]) -> set[str]:
    """Components of the service, without what makes load or looks on."""
    return {name for name in parts if name not in {"k6", "Python tasks", "probe", "Slurm", "other"}}


def machine_use(run: Run, begin: float, end: float) -> dict[str, float]:
    """Shares of the machine's CPU between two times: all of it, and what belongs to nobody in this run."""
    samples = [line for line in run.lines["sample"] if begin - 1.5 <= line["at"] <= end + 1.5]
    if len(samples) < 2:
        return {}
    whole = samples[-1]["all_s"] - samples[0]["all_s"]
    busy = samples[-1]["busy_s"] - samples[0]["busy_s"]
    ours = sum(cpu_seconds(run, begin, end).values())
    return {
        "busy": round(busy / whole, 3),
        "others": round(max(0.0, busy - ours) / whole, 3),
        "load_average": round(max(line["load"] for line in samples), 1),
    }


def _first(run: Run) -> float | None:
    times = [upload for upload in run.puts if upload.visible is not None]
    first = min(times, key=lambda upload: upload.start, default=None)
    return None if first is None else round((first.visible or 0.0) - first.end, 3)


def _creation_s(run: Run) -> dict[str, float]:
    return spread(line["there"] - line["start"] for line in run.lines["request"])


def _memory(run: Run) -> dict[str, float]:
    most: dict[str, float] = defaultdict(float)
    for line in run.lines["sample"]:
        for name, part in line["parts"].items():
            most[name] = max(most[name], part["rss"] / 1e6)
    return {name: round(mb, 1) for name, mb in sorted(most.items(), key=lambda item: -item[1])}


def _instances(run: Run) -> dict[str, float]:
    most: dict[str, float] = defaultdict(float)
    for line in run.lines["sample"]:
        for name, part in line["parts"].items():
            for size in part.get("instances", ()):
                most[name.removeprefix("function ")] = max(most[name.removeprefix("function ")], size / 1e6)
    return {name: round(mb, 1) for name, mb in most.items()}


def _most_instances(run: Run) -> dict[str, int]:
    most: dict[str, int] = defaultdict(int)
    for line in run.lines["instances"]:
        for name, (ready, *_) in line["services"].items():
            most[name] = max(most[name], ready)
    return dict(most)


def _cold_starts(run: Run, begin: float) -> dict[str, float]:
    """Seconds until an instance was ready, of those that became so after the load had begun."""
    lines = run.lines["instances"]
    before = [line["cold_starts"] for line in lines if line["at"] < begin][-1:]
    known = {name: len(values) for line in before for name, values in line.items()}
    last = lines[-1]["cold_starts"] if lines else {}
    return spread(seconds for name, values in last.items() for seconds in values[known.get(name, 0) :])


def _most_queued(run: Run) -> dict[str, int]:
    most: dict[str, int] = defaultdict(int)
    for name, points in backlog(run).items():
        most[name] = max((count for _, count in points), default=0)
    most["all queues"] = max((line.get("total", 0) for line in run.lines["queues"]), default=0)
    return {name: count for name, count in most.items() if count}


def backlog(run: Run) -> dict[str, list[tuple[float, int]]]:
    """Messages of each function that nobody works on, over time: those in its queue and those fetched ahead of it."""
    fetched = [(line["at"], line["services"]) for line in run.lines["instances"]]
    place = 0
    found: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for line in run.lines["queues"]:
        while place + 1 < len(fetched) and fetched[place + 1][0] <= line["at"]:
            place += 1
        for name, count in line["steps"].items():
            ahead = fetched[place][1].get(name, [0, 0, 0, 0])[3] if fetched else 0
            found[name].append((line["at"], count + ahead))
    return found
