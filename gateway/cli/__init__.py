"""The command line ``cvmfs-cloud``; what a command needs is imported when it runs, so that help is there at once."""

from __future__ import annotations


def main() -> None:
    """Run the command line of this process."""
    from gateway.cli.app import app  # noqa: PLC0415

    app()
