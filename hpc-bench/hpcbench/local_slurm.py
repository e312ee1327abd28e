"""Debian's Slurm on one machine: munged, slurmctld and slurmd below one folder, without systemd, cgroups or database.

Runs as the user who starts it, root or not; then jobs are that user's too. Ended with the process that started it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from functions.local.servers.children import Child, run_tool
from functions.local.servers.packages import Program
from functions.local.servers.ports import LOOPBACK, keep_ports
from functions.local.servers.server import LocalServer
from functions.local.servers.waiting import wait_until

_START_S = 30.0
_GRACE_S = 10.0
_NEXT_STEP = "Look at the log; slurmd's own words are in log/slurmd.log."

CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}({address})
SlurmctldPort={slurmctld}
SlurmdPort={slurmd}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=0
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
InactiveLimit=0
KillWait=5
MailProg=/bin/true
NodeName={host} NodeAddr={address} CPUs={cpus} State=UNKNOWN
PartitionName=bench Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:16
"""
"""Overlapping jobs share the cores: tasks of the bench wait more than they compute."""


class SlurmServer(LocalServer):
    """One node that is controller and compute node."""

    programs: ClassVar[tuple[Program, ...]] = (
        Program("munged", "munge"),
        Program("slurmctld", "slurmctld"),
        Program("slurmd", "slurmd"),
        Program("sinfo", "slurm-client"),
        Program("scancel", "slurm-client"),
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._children: list[Child] = []
        self._tools: Mapping[str, Path] = {}

    @property
    def configuration(self) -> Path:
        """The file that SLURM_CONF names to the commands."""
        return self.folder / "slurm.conf"

    def alive(self) -> bool:
        """Whether all three daemons run."""
        return bool(self._children) and all(child.alive() for child in self._children)

    def _launch(self, tools: Mapping[str, Path]) -> None:
        self._tools = tools
        for name in ("state", "spool"):
            (self.folder / name).mkdir(exist_ok=True)
        ports = keep_ports(self.folder, ("slurmctld", "slurmd"))
        self.configuration.write_text(
            CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                address=LOOPBACK,
                user=pwd.getpwuid(os.geteuid()).pw_name,
                folder=self.folder,
                cpus=os.cpu_count(),
                **ports,
            )
        )
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))
        self._start(
            "munged",
            tools["munged"],
            "--foreground",
            "--force",
            f"--key-file={key}",
            *(f"--{name}-file={self.folder}/munge.{name}" for name in ("pid", "log", "seed")),
            f"--socket={self.folder}/munge.socket",
        )
        munged = self._children[-1]
        wait_until(
            (self.folder / "munge.socket").exists, "listen", child=munged, timeout_s=_START_S, next_step=_NEXT_STEP
        )
        self._start("slurmctld", tools["slurmctld"], "-D", "-c", "-f", self.configuration)
        self._start("slurmd", tools["slurmd"], "-D", "-c", "-f", self.configuration)
        wait_until(
            lambda: self._tool("sinfo", "--noheader", "--format=%T") == "idle",
            "offer its node",
            child=self._children[-1],
            timeout_s=_START_S,
            next_step=_NEXT_STEP,
        )

    def _halt(self) -> None:
        if self._children and self.alive():
            # Steps of jobs belong to no daemon and would outlive slurmd.
            self._tool("scancel", "--full", "--signal=KILL", "--partition=bench")
        for child in reversed(self._children):
            child.stop(grace_s=_GRACE_S)
        self._children = []

    def _start(self, name: str, *argv: str | Path) -> None:
        child = Child(name, argv, folder=self.folder, environment=self._slurm_environment(), book=self._book)
        self._children.append(child)
        child.start()

    def _tool(self, name: str, *arguments: str) -> str:
        done = run_tool(
            (self._tools[name], *arguments), folder=self.folder, environment=self._slurm_environment(), timeout_s=20.0
        )
        return done.stdout.strip()

    def _slurm_environment(self) -> dict[str, str]:
        return self._environment(SLURM_CONF=str(self.configuration))
