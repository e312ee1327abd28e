"""The page of a report: the run's own numbers, pictures inside, nothing fetched from anywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hpcbench import figures
from hpcbench.analysis import analyse, analyse_lines
from hpcbench.raw import RawFile
from hpcbench.report import page, write_report
from hpcbench.summary import summarise
from tests.bench_lines import Lines


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Lines:
    lines = Lines(tmp_path_factory.mktemp("story") / "run")
    for number in range(1, 21):
        lines.put(number, f"f{number}", at=10.0 + number / 10)
        lines.notified(number, f"f{number}", at=10.1 + number / 10)
        lines.stored(number, at=10.2 + number / 10)
        lines.read(f"f{number}", number)
    lines.revision(2, at=12.5, there={f"f{number}": number for number in range(1, 21)})
    lines.add("event", type="repository.published", fqrn="b0000.infn.it", at=12.5)
    for second in range(8, 16):
        parts: dict[str, Any] = {
            "RadosGW": {"cpu_s": second * 0.5, "rss": 100_000_000, "n": 1},
            "function publish_transaction": {
                "cpu_s": second * 0.25,
                "rss": 90_000_000,
                "n": 2,
                "instances": [80_000_000],
            },
        }
        lines.add("sample", at=float(second), parts=parts, busy_s=second * 1.0, all_s=second * 2.0, load=1.0)
        lines.add(
            "instances",
            at=float(second),
            services={"publish-transaction": [int(10 < second < 14), 0, 0, 3], "gateway": [1, 0, 0, 0]},
            cold_starts={"publish-transaction": [9.9, 0.7][: 1 + (second > 9)]},
            crashed=0,
            radosgw_restarts=0,
        )
        lines.add("queues", at=second + 0.1, steps={"publish-transaction": second})
    raw = RawFile(lines.folder, "all")
    for line in lines.lines:
        raw.write(**line)
    raw.close()
    return lines


@pytest.fixture(scope="module")
def told(run: Lines) -> tuple[Path, list[str]]:
    """The report, and what was said meanwhile."""
    said: list[str] = []
    assert write_report(run.folder, run.folder / "report", compare=[], say=said.append) == 0
    return run.folder / "report", said


def test_the_report_says_what_the_raw_data_say(told: tuple[Path, list[str]]) -> None:
    out, said = told
    summary = json.loads((out / "summary.json").read_text())
    assert summary["stages"]["visible"] == {"n": 20, "p50": 1.4, "p90": 2.2, "p99": 2.4, "max": 2.4}
    assert summary["waits"] == {"notified": 0.1, "stored": 0.1, "visible": 1.2}
    assert summary["counts"]["revisions"] == 1
    # 2.5 s in the samples around the load, for 20 files
    assert summary["cpu_s_per_1000_files"]["RadosGW"] == pytest.approx(125.0)
    assert summary["instance_mb"] == {"publish_transaction": 80.0}
    assert summary["cold_starts_s"]["max"] == 0.7
    assert summary["most_queued"]["publish-transaction"] == 18  # fifteen in the queue, three fetched ahead of it
    assert all(bar["met"] for bar in summary["bars"])
    assert any("0.10 s for RadosGW's notification" in line for line in said)
    assert summary["baseline"]["stages"]["visible"]["p50"] > 10 * summary["stages"]["visible"]["p50"]


def test_the_page_needs_nothing_beside_it(told: tuple[Path, list[str]]) -> None:
    out, _ = told
    text = (out / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!#)', text)
    assert "@import" not in text
    assert text.count("<figure") == text.count("<svg") == len(list(out.glob("*.png"))) >= 6
    assert "1.40 s" in text
    assert "<b>0</b> lost" in text


def test_the_same_raw_data_make_the_same_report(run: Lines, told: tuple[Path, list[str]]) -> None:
    out, _ = told
    analysed = analyse(run.folder)
    again = summarise(analysed, run.folder)
    kept = json.loads((out / "summary.json").read_text())
    del kept["baseline"]
    assert json.loads(json.dumps(again)) == kept
    latency = figures.latency(analysed)
    assert latency is not None
    assert figures.svg(latency) in (out / "report.html").read_text()


def test_a_run_that_lost_something_says_so(tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    lines.put(1, "<lost>", at=12.0)
    analysed = analyse_lines(lines.plan, lines.lines)
    summary = summarise(analysed, tmp_path)
    assert [bar["text"] for bar in summary["bars"] if not bar["met"]] == ["lost"]
    text = page(summary, {})
    assert '<div class="verdict bad">' in text
    assert "&lt;lost&gt;" in text
    assert "<lost>" not in text


def test_operations_that_failed_are_shown_with_their_reason(tmp_path: Path) -> None:
    lines = Lines(tmp_path)
    for number in (1, 2):
        lines.put(number, f"f{number}", at=12.0, status=503)
    lines.put(3, "f3", at=12.0, status=0, why="<refused>")
    summary = summarise(analyse_lines(lines.plan, lines.lines), tmp_path)
    assert summary["counts"]["failed"] == 3
    assert summary["failures"] == {"put: answered 503": 2, "put: <refused>": 1}
    text = page(summary, {})
    assert "3 of the clients' operations failed" in text
    assert "<li>2 failed: put: answered 503</li><li>1 failed: put: &lt;refused&gt;</li>" in text


def test_runs_stand_side_by_side_where_there_are_two() -> None:
    one = {"scenario": "a", "scale": 1, "stages": {"visible": {"n": 1, "p50": 0.5, "p90": 1, "p99": 2, "max": 2}}}
    two = {"scenario": "b", "scale": 0.5, "stages": {"visible": {"n": 1, "p50": 30.0, "p90": 60, "p99": 70, "max": 70}}}
    assert figures.comparison([one]) is None
    both = figures.comparison([one, two])
    assert both is not None
    assert [label.get_text() for label in both.axes[0].get_yticklabels()] == ["b at scale 0.5", "a"]
