"""All commands of ``cvmfs-cloud``, as one program."""

from __future__ import annotations

from gateway.cli.commands import program

app = program()
