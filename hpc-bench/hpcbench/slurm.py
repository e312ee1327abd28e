"""Tasks as job arrays: one array for each wave, which begins when the one before has ended."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hpcbench.errors import BenchError
from hpcbench.plan import Plan
from hpcbench.run_folder import LOG_FOLDER, SCRIPT_FILE
from hpcbench.sites import Site

_TIMEOUT_S = 60.0

SCRIPT = """\
#!/bin/bash
# One task of an array: FIRST is the index of the array's first task.
set -eo pipefail  # not -u: what `module load` brings along reads variables that are not set
{setup}
export PYTHONPATH={bench} {k6}
exec {python} -m hpcbench.tasks {run} $((FIRST + SLURM_ARRAY_TASK_ID))
"""


def submit(run: Path, plan: Plan, site: Site, *, bench: Path, python: str, configuration: str) -> Iterator[str]:
    """Submit wave after wave, and tell the id of each array at once. Raises BenchError with what sbatch said."""
    assert site.slurm is not None, "a site with Slurm"
    (run / LOG_FOLDER).mkdir(exist_ok=True)
    script = run / SCRIPT_FILE
    script.write_text(
        SCRIPT.format(
            setup="\n".join(site.slurm.setup),
            bench=shlex.quote(str(bench)),
            k6=f"K6={shlex.quote(site.k6)}" if site.k6 else "",
            python=shlex.quote(python),
            run=shlex.quote(str(run)),
        )
    )
    before = ""
    for wave in plan.waves:
        arguments = [
            "sbatch",
            "--parsable",
            f"--job-name={plan.scenario.name}-{wave[0].wave}",
            f"--array=0-{len(wave) - 1}",
            f"--export=ALL,FIRST={wave[0].index}",
            f"--output={run}/{LOG_FOLDER}/slurm-%A-%a.log",
            f"--chdir={run}",
            *([f"--dependency=afterany:{before}"] if before else []),
            *site.slurm.options,
            str(script),
        ]
        before = _slurm(arguments, configuration).strip().split(";")[0]  # --parsable has ;cluster behind the id
        yield before


def cancel(jobs: list[str], configuration: str) -> None:
    """End what still runs or waits."""
    if jobs:
        _slurm(["scancel", *jobs], configuration)


def states(jobs: list[str], configuration: str) -> dict[str, int]:
    """How many tasks are in which state, as squeue names them; nothing once all have left the queue."""
    found: dict[str, int] = {}
    for state in _slurm(
        ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={','.join(jobs)}"], configuration
    ).split():
        found[state] = found.get(state, 0) + 1
    return found


def _slurm(arguments: list[str], configuration: str) -> str:
    environment = {**os.environ, **({"SLURM_CONF": configuration} if configuration else {})}
    try:
        done = subprocess.run(
            arguments, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        raise BenchError(f"{arguments[0]}: {err}", hint="Submit from a node that has Slurm's commands.") from err
    if done.returncode and "Invalid job id" not in done.stderr:
        raise BenchError(
            f"{arguments[0]} failed: {done.stderr.strip()}", hint="Check partition and account of the site."
        )
    return done.stdout
