"""The report of a run: one page that needs nothing beside it, the pictures as PNG, the numbers as JSON."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from hpcbench import figures
from hpcbench.analysis import analyse
from hpcbench.baseline import baseline_summary
from hpcbench.page import PAGE
from hpcbench.summary import summarise

SUMMARY_FILE = "summary.json"
PAGE_FILE = "report.html"


def write_report(run: Path, out: Path, *, compare: Sequence[Path], say: Callable[[str], None]) -> int:
    """Compute everything anew from raw data; returns 0 if nothing was lost, duplicated or wrong."""
    analysed = analyse(run)
    summary = summarise(analysed, run)
    polling = baseline_summary(analysed)
    others = [json.loads(path.read_text()) for path in compare]
    out.mkdir(parents=True, exist_ok=True)
    summary["baseline"] = {"stages": polling["stages"], "seconds": polling["seconds"]}
    (out / SUMMARY_FILE).write_text(json.dumps(summary, indent=1) + "\n")
    made = figures.figures(analysed)
    more = {"cost": figures.cost(summary), "comparison": figures.comparison([summary, *others, polling])}
    made |= {name: figure for name, figure in more.items() if figure is not None}
    figures.save(made, out)
    (out / PAGE_FILE).write_text(page(summary, {name: figures.svg(figure) for name, figure in made.items()}))
    plt.close("all")
    for bar in summary["bars"]:
        met = "met   " if bar["met"] else "MISSED"
        say(f"{met}  {bar['text']}: {_number(bar['value'])} {bar['unit']} (at most {bar['most']:g})")
    for sentence in summary["limited_by"]:
        say(sentence)
    for line in _failures(summary):
        say(line)
    say(f"{out}/{PAGE_FILE}")
    for task in summary["tasks_failed"]:
        say(f"task {task['task']} ({task['load']}) failed: {task['fault'].strip().splitlines()[-1]}")
    return 0 if analysed.verdict.clean and not summary["tasks_failed"] else 1


def page(summary: dict[str, Any], pictures: dict[str, str]) -> str:
    """The whole page."""
    zero = summary["must_be_zero"]
    counts, provenance = summary["counts"], summary["provenance"]
    clean = not any(zero.values())
    visible = summary["stages"]["visible"]
    machine = provenance.get("machine", {})
    return PAGE.format(
        title=html.escape(summary["title"]),
        scenario=html.escape(summary["scenario"]),
        scale=f"{summary['scale']:g}",
        when=datetime.fromtimestamp(summary["began"], UTC).strftime("%d %B %Y, %H:%M UTC"),
        machine=html.escape(
            f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores, {machine.get('memory_gib', '?')} GiB, "
            f"{machine.get('system', '')}, Linux {machine.get('kernel', '')}"
        ),
        tiles="".join(
            _tile(*tile)
            for tile in (
                (_seconds(visible.get("p50")), "PUT to visible, median"),
                (_seconds(visible.get("p99")), "PUT to visible, 99th percentile"),
                (f"{counts['uploads'] + counts['deletions']:,}", f"operations, {counts['files']:,} files visible"),
                (f"{counts['repositories']:,}", f"repositories, {counts['revisions']:,} revisions"),
                (_rate(summary["rates"]["put_per_s"]), "uploaded"),
                (_rate(summary["rates"]["visible_per_s"]), "made visible"),
            )
        ),
        verdict_class="good" if clean else "bad",
        verdict=" · ".join(f"<b>{count}</b> {html.escape(name.replace('_', ' '))}" for name, count in zero.items()),
        proof=_proof(counts),
        examples="".join(f"<li>{html.escape(line)}</li>" for line in (*summary["examples"], *_failures(summary))),
        limits="".join(f"<p>{html.escape(line)}</p>" for line in summary["limited_by"]),
        bars="".join(_bar(bar) for bar in summary["bars"]),
        stages="".join(_stage(name, times) for name, times in summary["stages"].items() if times),
        pictures="".join(f'<figure id="{name}">{picture}</figure>' for name, picture in pictures.items()),
        command=html.escape(provenance.get("command", "")),
        commit=html.escape(provenance.get("commit", "") + (" and local changes" if provenance.get("changed") else "")),
        versions=html.escape(
            ", ".join(f"{name} {version}" for name, version in provenance.get("versions", {}).items())
        ),
        clock=f"{summary['clocks']['error_s'] * 1000:.1f} ms",
    )


def _proof(counts: dict[str, int]) -> str:
    """How the verdict came about, and what it says nothing of."""
    failed = f" {counts['failed']:,} of the clients' operations failed, and promise nothing." * bool(counts["failed"])
    return (
        f"{counts['read_back']:,} files read back in the end, {counts['read_by_clients']:,} meanwhile: every object by "
        f"its hash, every content against what was uploaded, every revision's signature and whitelist.{failed}"
    )


def _failures(summary: dict[str, Any]) -> list[str]:
    """The clients' operations that failed, in words: all that failed alike together."""
    return [f"{count:,} failed: {why}" for why, count in summary["failures"].items()]


def _tile(number: str, words: str) -> str:
    return f'<div class="tile"><b>{html.escape(number)}</b><span>{html.escape(words)}</span></div>'


def _bar(bar: dict[str, Any]) -> str:
    met = "met" if bar["met"] else "missed"
    return (
        f'<tr><td>{html.escape(bar["text"])}</td><td class="n">{_number(bar["value"])} {bar["unit"]}</td>'
        f'<td class="n">≤ {bar["most"]:g} {bar["unit"]}</td><td class="{met}">{met}</td></tr>'
    )


def _stage(name: str, times: dict[str, float]) -> str:
    cells = "".join(f'<td class="n">{_seconds(times[key])}</td>' for key in ("p50", "p90", "p99", "max"))
    return f'<tr><td>{figures.STAGE_WORDS[name]}</td><td class="n">{times["n"]:,}</td>{cells}</tr>'


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _rate(value: float) -> str:
    return f"{value:,.0f}/s" if value >= 10 else f"{value:.1f}/s"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value * 1000:,.0f} ms" if value < 1 else f"{value:,.2f} s"
