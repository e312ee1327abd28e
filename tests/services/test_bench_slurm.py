"""The smallest run of the bench: a real Slurm, a real stack, and a report that finds nothing lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpcbench.raw import read

pytestmark = pytest.mark.services

BENCH = Path(__file__).parents[2] / "hpc-bench"


def test_a_run_through_slurm_loses_doubles_and_spoils_nothing_and_leaves_nothing_running(tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, str(BENCH / "run.py"), "run", "smoke", "--site", "one-vm", "--scale", "0.3"]
    done = subprocess.run([*command, "--run", str(run)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{_logs(run)}"
    summary = json.loads((run / "report" / "summary.json").read_text())
    zero = summary["must_be_zero"]
    assert (zero["lost"], zero["duplicated"], zero["wrong"], zero["not_read_back"]) == (0, 0, 0, 0), summary["examples"]
    assert summary["tasks_failed"] == []
    counts = summary["counts"]
    assert counts["failed"] == 0
    assert min(counts["uploads"], counts["deletions"], counts["revisions"], counts["read_by_clients"]) > 0
    assert summary["stages"]["visible"]["n"] + counts["superseded"] >= counts["uploads"]
    lines = list(read(run))
    assert all(line["job"] for line in lines if line["k"] == "task")
    assert {line["kind"] for line in lines if line["k"] == "op"} == {"put", "multipart", "archive", "delete"}
    assert not _still_running(run)


def _still_running(run: Path) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(run) in line:
                found.append(line)
    return found


def _logs(run: Path) -> str:
    return "\n".join(f"{path.name}:\n{path.read_text(errors='replace')[-2000:]}" for path in run.glob("logs/*.log"))
