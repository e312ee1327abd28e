"""A run between its commands: what it has started is known, is ended, and leaves no credentials behind."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from functions.local.servers.processes import ProcessRecord
from hpcbench import running
from hpcbench.errors import BenchError
from hpcbench.plan import Plan
from hpcbench.plan_files import read_plan, write_plan
from hpcbench.planning import decide
from hpcbench.progress import Progress
from hpcbench.raw import RawFile
from hpcbench.run_folder import GO_FILE, HOST_RAW, K6_FOLDER, STATE_FILE, TARGET_FILE
from hpcbench.scenario import load_scenario
from hpcbench.state import RunState
from hpcbench.target import Target, User
from hpcbench.tasks import by_k6
from hpcbench.tasks.work import Work

BENCH = Path(__file__).parents[2] / "hpc-bench"
TARGET = Target(
    "http://s3", "here", "http://gateway", "http://cvmfs", "cvmfs", "infn.it", (User("u", "key", "secret"),)
)
SITE = """\
title = "a cluster"

[slurm]
options = ["--partition=cpu"]

[service]
target = "{target}"
"""


def program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}")
    path.chmod(0o755)


def plan_of(run: Path, scenario: str) -> Plan:
    wanted = load_scenario(BENCH / "scenarios" / f"{scenario}.toml", scale=0.001)
    write_plan(run, decide(wanted, domain="infn.it", users=1, prefix="b"))
    return read_plan(run)


def test_jobs_of_a_run_that_could_not_be_submitted_whole_are_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, cancelled, count = tmp_path / "bin", tmp_path / "cancelled", tmp_path / "count"
    program(
        programs / "sbatch",
        f'case "$1" in --version) exit;; esac\necho >> {count}\n'
        f'case $(wc -l < {count}) in 1) echo 4711;; *) echo "job limit reached" >&2; exit 1;; esac\n',
    )
    program(programs / "scancel", f'echo "$@" >> {cancelled}\n')
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setattr(running, "_start", lambda *_: None)
    monkeypatch.setattr(running, "_await", lambda *_: None)
    TARGET.write(tmp_path / "elsewhere.json")
    site = tmp_path / "cluster.toml"
    site.write_text(SITE.format(target=tmp_path / "elsewhere.json"))
    scenario = load_scenario(BENCH / "scenarios" / "nightly-build.toml", scale=0.001)
    run = tmp_path / "run"
    with pytest.raises(BenchError, match="job limit reached"):
        running.submit(run, scenario, site, command="", prefix="b", say=lambda _: None)
    assert cancelled.read_text() == "4711\n"
    assert not (run / TARGET_FILE).exists()
    assert (tmp_path / "elsewhere.json").exists()


def test_a_stopped_run_has_no_process_and_no_credentials(tmp_path: Path) -> None:
    TARGET.write(tmp_path / TARGET_FILE)
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        record = ProcessRecord.of("probe", sleeper.pid)
        assert record is not None
        RunState("cluster", 1.0, "run.py run smoke", processes=[record]).write(tmp_path)
        running.stop(tmp_path)
        assert not record.alive()
    assert not (tmp_path / TARGET_FILE).exists()
    running.stop(tmp_path)  # once more is no fault


def test_processes_are_ended_even_if_slurm_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "scancel", "echo 'cannot contact the controller' >&2; exit 1\n")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    TARGET.write(tmp_path / TARGET_FILE)
    with subprocess.Popen(["sleep", "600"]) as sleeper:
        record = ProcessRecord.of("probe", sleeper.pid)
        assert record is not None
        RunState("cluster", 1.0, "", processes=[record], jobs=["4711"]).write(tmp_path)
        with pytest.raises(BenchError, match="cannot contact the controller"):
            running.stop(tmp_path)
        assert not record.alive()
    assert (tmp_path / TARGET_FILE).exists()  # for the next attempt


def test_a_slash_at_the_end_of_an_address_does_no_harm(tmp_path: Path) -> None:
    replace(TARGET, s3_url="http://s3/", gateway_url="http://gateway/", repository_url="http://cvmfs//").write(
        tmp_path / TARGET_FILE
    )
    assert Target.read(tmp_path / TARGET_FILE) == TARGET


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"s3_url": 1}'])
def test_a_target_that_is_none_is_told_with_the_place_of_an_example(tmp_path: Path, text: str) -> None:
    (tmp_path / "target.json").write_text(text)
    with pytest.raises(BenchError, match=r"target\.json") as caught:
        Target.read(tmp_path / "target.json")
    assert "README.md" in caught.value.hint


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = RunState("laptop", 1.5, "run.py", processes=[ProcessRecord("probe", 7, 8, "boot")], jobs=["1"])
    state.write(tmp_path)
    assert RunState.read(tmp_path) == state
    assert json.loads((tmp_path / STATE_FILE).read_text())["processes"] == [["probe", 7, 8, "boot"]]


@pytest.mark.parametrize("end", ["exit 3", "interrupted"])
def test_the_keys_that_k6_was_given_are_gone_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    program(tmp_path / "bin" / "k6", 'grep -q secret "$WORK" && echo seen\nexit 3\n')
    monkeypatch.setenv("K6", str(tmp_path / "bin" / "k6"))
    if end == "interrupted":

        def interrupted(*_: object) -> None:
            raise SystemExit(143)

        monkeypatch.setattr(by_k6, "_follow", interrupted)
    plan = plan_of(tmp_path, "ten-thousand")
    raw = RawFile(tmp_path, "task")
    with pytest.raises((RuntimeError, SystemExit)):
        by_k6.play(Work(tmp_path, plan, plan.tasks[-1], TARGET, raw))
    raw.close()
    assert [path.name for path in (tmp_path / K6_FOLDER).glob("*-work.json")] == []
    if end != "interrupted":
        assert (tmp_path / K6_FOLDER / f"{plan.tasks[-1].index:04}.out").read_text() == "seen\n"


def test_a_load_from_zero_begins_when_repositories_are_there_and_no_function_runs(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "single-user")
    progress = Progress(tmp_path, plan, "infn.it")
    raw = RawFile(tmp_path, HOST_RAW)

    def runs(instances: int) -> None:
        raw.write("instances", services={"publish-transaction": [instances, 0, 0, 0], "gateway": [1, 0, 0, 0]})
        raw.flush()

    def holds() -> tuple[bool, bool]:
        progress.update()
        return running._holds(tmp_path, plan, progress), (tmp_path / GO_FILE).exists()

    runs(0)
    assert holds() == (False, False)  # nothing is requested yet
    runs(2)
    raw.write("request")
    raw.flush()
    assert holds() == (True, False)
    runs(0)
    assert holds() == (False, True)
    runs(1)
    assert holds() == (False, True)
    raw.close()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("program_name", ["run.py", "results.py"])
def test_help_names_every_scenario(program_name: str) -> None:
    words = ["plan", "--help"] if program_name == "run.py" else ["--help"]
    done = command(str(BENCH / program_name), *words)
    assert done.returncode == 0
    assert "mixed-soak" in done.stdout


@pytest.mark.parametrize("words", [["run.py", "plan", "nothing"], ["results.py", "nothing"]])
def test_an_unknown_scenario_is_told_with_those_there_are(words: list[str]) -> None:
    done = command(str(BENCH / words[0]), *words[1:])
    assert done.returncode == 2
    assert "nothing" in done.stderr
    assert "ten-thousand" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_signal_does_not_keep_a_run_from_being_ended() -> None:
    program = """
import os, signal, time, run
run.end_at_the_first_signal()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
finally:
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
    print("ended")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=BENCH, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (143, "ended\n")
