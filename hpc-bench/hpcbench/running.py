"""From a scenario and a site to raw data: submit, watch, collect."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from functions.local.servers.processes import ProcessRecord
from hpcbench import slurm
from hpcbench.errors import BenchError
from hpcbench.plan import Plan
from hpcbench.plan_files import read_plan, write_plan
from hpcbench.planning import decide
from hpcbench.progress import Progress, instances_now
from hpcbench.provenance import write_provenance
from hpcbench.raw import read
from hpcbench.run_folder import (
    FINISH_FILE,
    FINISHED_FILE,
    GO_FILE,
    LOG_FOLDER,
    OPERATIONS_FOLDER,
    PROBE_FILE,
    RAW_FOLDER,
    SITE_FILE,
    TARGET_FILE,
)
from hpcbench.scenario import Scenario
from hpcbench.sites import Site, load_site
from hpcbench.state import RunState
from hpcbench.target import Target

BENCH = Path(__file__).parents[1]
START_LIMIT_S = 240.0
FINISH_LIMIT_S = 3600.0
IDLE_LIMIT_S = 300.0
_GRACE_S = 60.0
_ZERO_SHOWN_S = 10.0

Say = Callable[[str], None]


def submit(run: Path, scenario: Scenario, site_file: Path, *, command: str, prefix: str, say: Say) -> None:
    """Plan, start stack and probe where needed, start the tasks; returns at once."""
    site = load_site(site_file)
    if (run / RAW_FOLDER).exists():
        raise BenchError(f"{run} holds a run already", hint="Choose another folder, or remove that one.")
    run.mkdir(parents=True, exist_ok=True)
    shutil.copy(site_file, run / SITE_FILE)
    state = RunState(site.name, time.time(), command)
    try:
        target = _target(run, site, state, say)
        plan = decide(scenario, domain=target.domain, users=len(target.users), prefix=prefix)
        write_plan(run, plan)
        write_provenance(run, command)
        _start(run, state, "hpcbench.probe", str(run), site.probe_address)
        _await(run / PROBE_FILE, run, state, "probe")
        count = sum(task.operations for task in plan.tasks)
        say(f"{len(plan.tasks)} tasks in {len(plan.waves)} waves, {count} operations")
        if site.slurm is None:
            _start(run, state, "hpcbench.laptop", str(run))
        else:
            python = site.python or sys.executable
            for job in slurm.submit(run, plan, site, bench=BENCH, python=python, configuration=target.slurm_conf):
                state.jobs.append(job)
                state.write(run)
            say(f"job arrays {', '.join(state.jobs)}")
    except BaseException:
        stop(run, state)
        raise


def watch(run: Path, say: Say, *, every_s: float = 5.0) -> bool:
    """Return when all tasks have ended and every upload is visible, True, or `settle_s` later, False."""
    state = RunState.read(run)
    plan = read_plan(run)
    target = Target.read(run / TARGET_FILE)
    progress = Progress(run, plan, target.domain)
    ended_at: float | None = None
    said = 0.0
    while True:
        progress.update()
        holds = _holds(run, plan, progress)
        if ended_at is None and progress.tasks_ended(_tasks_left(state, target.slurm_conf)):
            ended_at = time.monotonic()
        if time.monotonic() - said >= every_s:
            said = time.monotonic()
            say(progress.line() + (", waiting until no function runs" if holds else ""))
        if ended_at is not None and (not progress.waiting or time.monotonic() - ended_at > plan.scenario.settle_s):
            say(progress.line())
            return not progress.waiting
        if not _alive(state, "probe"):
            raise BenchError("the probe has ended", hint=f"{run}/{LOG_FOLDER}/probe.log says why.")
        time.sleep(0.5)


def _holds(run: Path, plan: Plan, progress: Progress) -> bool:
    """Whether the load of a scenario that begins from zero waits for that; lets it go where it need not any longer."""
    if not plan.scenario.from_zero or progress.requested < len(plan.repositories) or (run / GO_FILE).exists():
        return False
    if instances_now(run):
        return True
    (run / GO_FILE).touch()
    return False


def collect(run: Path, say: Say) -> None:
    """Read everything back, then end probe and stack; raw data are complete after that."""
    state = RunState.read(run)
    if read_plan(run).scenario.to_zero and Target.read(run / TARGET_FILE).local_pid:
        say("waiting until no function runs any more")
        _await_zero(run)
    (run / FINISH_FILE).touch()
    say("reading everything back")
    give_up_at = time.monotonic() + FINISH_LIMIT_S
    while not (run / FINISHED_FILE).exists():
        if not _alive(state, "probe") and not (run / FINISHED_FILE).exists():
            raise BenchError(
                "the probe ended before it had read everything", hint=f"{run}/{LOG_FOLDER}/probe.log says why."
            )
        if time.monotonic() > give_up_at:
            raise BenchError(f"reading back took more than {FINISH_LIMIT_S:.0f} s")
        time.sleep(0.2)
    stop(run, state)
    shutil.rmtree(run / OPERATIONS_FOLDER)
    say(f"raw data: {sum(1 for _ in read(run))} lines in {run}/{RAW_FOLDER}")


def stop(run: Path, state: RunState | None = None) -> None:
    """End every process and job of a run, and remove the addresses and credentials that they had."""
    state = RunState.read(run) if state is None else state
    try:
        if state.jobs and (run / TARGET_FILE).exists():
            slurm.cancel(state.jobs, Target.read(run / TARGET_FILE).slurm_conf)
    finally:  # a Slurm that does not answer keeps nobody from ending the processes
        for record in reversed(state.processes):
            _end(record)
    (run / TARGET_FILE).unlink(missing_ok=True)


def _end(record: ProcessRecord) -> None:
    if record.alive():
        os.kill(record.pid, signal.SIGTERM)
    deadline = time.monotonic() + _GRACE_S
    while record.alive():
        if time.monotonic() > deadline:
            os.kill(record.pid, signal.SIGKILL)
        _reap(record.pid)
        time.sleep(0.05)


def _target(run: Path, site: Site, state: RunState, say: Say) -> Target:
    """Where the service is: elsewhere, as the site says, or on this machine, once it runs."""
    if site.service.target:
        Target.read(Path(site.service.target)).write(run / TARGET_FILE)
    else:
        say("starting a stack")
        _start(run, state, "hpcbench.host", str(run))
        _await(run / TARGET_FILE, run, state, "host")
    return Target.read(run / TARGET_FILE)


def _start(run: Path, state: RunState, module: str, *arguments: str) -> None:
    name = module.rpartition(".")[2]
    log = run / LOG_FOLDER / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**os.environ, "PYTHONPATH": str(BENCH), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    record = ProcessRecord.of(name, process.pid)
    assert record is not None, "a child of ours is at least a zombie"
    state.processes.append(record)
    state.write(run)


def _alive(state: RunState, name: str) -> bool:
    return any(record.alive() for record in state.processes if record.name == name)


def _await(path: Path, run: Path, state: RunState, name: str) -> None:
    give_up_at = time.monotonic() + START_LIMIT_S
    while not path.exists():
        if not _alive(state, name) or time.monotonic() > give_up_at:
            log = run / LOG_FOLDER / f"{name}.log"
            raise BenchError(f"the {name} did not start:\n{log.read_text(errors='replace')[-1500:]}")
        time.sleep(0.05)


def _await_zero(run: Path) -> None:
    give_up_at = time.monotonic() + IDLE_LIMIT_S
    while instances_now(run) and time.monotonic() < give_up_at:
        time.sleep(1.0)
    time.sleep(_ZERO_SHOWN_S)


def _tasks_left(state: RunState, configuration: str) -> Callable[[], bool]:
    if state.jobs:
        return lambda: bool(slurm.states(state.jobs, configuration))
    return lambda: _alive(state, "laptop")


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
