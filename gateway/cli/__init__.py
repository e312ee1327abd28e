"""The command line ``cvmfs-cloud``; what a command needs is imported when it runs, so that help is there at once."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the command line of this process."""
    # What is imported stays: looking through it for garbage again and again takes a tenth of the time to the help.
    gc.disable()
    from gateway.cli.app import app  # noqa: PLC0415

    gc.freeze()
    gc.enable()
    app()
