"""The command line ``cvmfs-cloud``; what a command needs is imported when it runs, so that help is there at once."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line of this process."""
    # What is imported stays: looking through it for garbage again and again takes a tenth of the time to the help.
    gc.disable()
    try:
        from gateway.cli.commands import program  # noqa: PLC0415

        command_line = program(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    gc.freeze()
    gc.enable()
    command_line()
