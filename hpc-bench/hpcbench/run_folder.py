"""The folder of a run: what is in it, who writes it, and who waits for it.

Commands, host, probe and tasks may be on different nodes and have this folder in common: by a file that appears one
tells another to go on. The names stand in the order of a run. Compute nodes import this module.
"""

from __future__ import annotations

SITE_FILE = "site.toml"
"""The site, copied by ``submit`` before it starts anything; the host reads it."""

STATE_FILE = "run.json"
"""Processes and jobs of the run, by ``submit`` after each start; ``watch``, ``collect`` and ``stop`` read it."""

LOG_FOLDER = "logs"
"""What each process prints; read by people, and by ``submit`` when one does not start."""

STACK_FOLDER = "stack"
"""The servers of a stack of one's own, and a Slurm's; the host's alone."""

TARGET_FILE = "target.json"
"""Addresses and credentials: by the host once its stack is up, or by ``submit`` from the file that the site names.

``submit`` waits for it. Probe and tasks read it; ``collect`` and ``stop`` remove it, since it holds secrets.
"""

PLAN_FILE = "plan.json"
"""Scenario, repositories and tasks, by ``submit``; read by everybody, and by the report."""

BASE_FILE = "base.txt"
"""The text that contents are made of, by ``submit``; tasks read it, ``k6/user.js`` too."""

OPERATIONS_FOLDER = "operations"
"""A file for each task after the requests, by ``submit``; the task reads its own, ``k6/user.js`` too.

``collect`` removes it: the plan makes all operations again.
"""

PROVENANCE_FILE = "provenance.json"
"""Command, versions and machine, by ``submit``; the report shows them."""

PROBE_FILE = "probe.json"
"""Where the probe's clock listens, by the probe once it listens to everything.

``submit`` waits for it before it starts the tasks, which ask that clock.
"""

SCRIPT_FILE = "task.sh"
"""The script of all job arrays, by ``submit`` where the site has a Slurm."""

RAW_FOLDER = "raw"
"""What happened, a file for each process that writes (``raw.py``); ``watch`` reads along, the report afterwards."""

HOST_RAW = "host"
"""The host's file of raw data, without its suffix; ``watch`` looks into it for functions that still run."""

K6_FOLDER = "k6"
"""Settings (while it runs, since they hold keys), output and thresholds of each k6, by its task and ``k6/user.js``."""

GO_FILE = "go"
"""By ``watch`` if the scenario is `from_zero`, once all repositories are there and no function runs any more.

Tasks of the first wave after the requests wait for it.
"""

PROBE_STATE_FILE = "probe-state.json"
"""What the probe counts at the moment, by the probe; for people who look on, nobody waits for it."""

STOP_FILE = "stop"
"""By the probe when an upload waits longer than `stop_after_s`; every task after the requests looks for it and ends."""

DONE_FOLDER = "done"
"""A file from each task as it ends, failed or not; ``watch`` counts them until all are there or no task is left."""

FINISH_FILE = "finish"
"""By ``collect`` when nothing is awaited any more; the probe waits for it, then reads everything back."""

FINISHED_FILE = "finished"
"""By the probe when everything is read back; ``collect`` waits for it before it ends probe and stack."""

REPORT_FOLDER = "report"
"""Page, pictures and numbers, by ``report`` unless it is told another place."""
