"""Replaces itself with a command that the kernel kills when the thread that started it ends.

Run as a script: ``python die_with_parent.py PARENT COMMAND ARGUMENT...`` where PARENT is the pid of the caller. The
process keeps its pid and start time over the exec. Source of the rule: prctl(2), ``PR_SET_PDEATHSIG``, which survives
execve of ordinary programs and is not inherited by their children.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Arrange the death, check that the parent has not died meanwhile, forbid core files, become the command."""
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        sys.exit("prctl(PR_SET_PDEATHSIG) was refused")
    if os.getppid() != parent:
        sys.exit("the process that wanted this server is gone")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.execv(command[0], command)  # noqa: S606 - the whole purpose of this script


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
