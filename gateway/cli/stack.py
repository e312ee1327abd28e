"""The whole service on this machine: starting it, stopping it, and playing the demo in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from functions.errors import RepositoryRefused
from gateway.cli.options import DEFAULT_FOLDER, AsJson, StackFolder
from gateway.cli.output import ExitCode, say, write_json, write_line


class FolderTaken(RepositoryRefused):
    """The folder is in use for something else."""

    hint = "Name another folder with --folder."


DEMO_FOLDER = Path(".demo")


def up(folder: StackFolder = DEFAULT_FOLDER) -> None:
    """Start RadosGW, RabbitMQ, OpenBao, the functions and the gateway; they stay until `stack down`."""
    from functions.local import stack  # noqa: PLC0415

    running = stack.up(folder, progress=say)
    write_line(f"dashboard     {running.gateway_url}")
    write_line(f"S3            {running.s3_url}")
    write_line(f"repositories  {running.repository_url}")


def down(folder: StackFolder = DEFAULT_FOLDER) -> None:
    """Stop everything that `stack up` started."""
    from functions.local import stack  # noqa: PLC0415

    stopped = stack.down(folder, progress=say)
    write_line("Stopped." if stopped else f"No stack runs in {folder}.")


def status(folder: StackFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show what runs; ends with 1 if nothing does."""
    from functions.local import stack  # noqa: PLC0415

    running = stack.status(folder)
    if as_json:
        write_json(running)
    elif running is None:
        write_line(f"No stack runs in {folder}.")
    else:
        for name, value in running.items():
            write_line(f"{name:<16} {value if isinstance(value, str) else json.dumps(value)}")
    if running is None:
        raise typer.Exit(ExitCode.REFUSED)


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", metavar="DIR", help="Where it runs; removed when it is over.")
    ] = DEMO_FOLDER,
    each: Annotated[bool, typer.Option("--each", help="Show the time from PUT to visible of every upload.")] = False,
) -> None:
    """Play the whole story on this machine: request a repository, upload, and watch workers see it."""
    from rich.console import Console  # noqa: PLC0415

    from functions.local.demo.story import run  # noqa: PLC0415

    if folder.exists() and any(folder.iterdir()) and not (folder / "runtime").is_dir():
        raise FolderTaken(f"{folder} holds something else than a demo, which would be removed.")
    run(folder, Console(), each=each)
