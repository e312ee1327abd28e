"""The whole service on this machine: starting it, stopping it, and playing the demo in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from functions.errors import RepositoryRefused
from gateway.cli.options import DEFAULT_FOLDER, AsJson, StackFolder
from gateway.cli.output import ExitCode, counted, say, write_json, write_line, write_table


class FolderTaken(RepositoryRefused):
    """The folder is in use for something else."""

    hint = "Name another folder with --folder."


DEMO_FOLDER = Path(".demo")


def up(folder: StackFolder = DEFAULT_FOLDER) -> None:
    """Start RadosGW, RabbitMQ, OpenBao, the functions and the gateway; they stay until `stack down`."""
    from functions.local import background  # noqa: PLC0415

    running = background.up(folder, progress=say)
    write_line(f"gateway       {running.gateway_url}")
    write_line(f"S3            {running.s3_url}")
    write_line(f"repositories  {running.repository_url}")


def down(folder: StackFolder = DEFAULT_FOLDER) -> None:
    """Stop everything that `stack up` started."""
    from functions.local import background  # noqa: PLC0415

    stopped = background.down(folder, progress=say)
    write_line("Stopped." if stopped else f"No stack runs in {folder}.")


def user(
    uid: Annotated[
        str,
        typer.Argument(metavar="UID", help="The user's id in RadosGW: the `subject` of the request for a repository."),
    ],
    folder: StackFolder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Make an S3 user, or find the one that there is, and show what S3 clients need to know, as a shell reads it."""
    from functions.local import background  # noqa: PLC0415

    running, account = background.account(folder, uid)
    variables = {
        "AWS_ENDPOINT_URL": running.s3_url,
        "AWS_ACCESS_KEY_ID": account.access_key,
        "AWS_SECRET_ACCESS_KEY": account.secret_key.get_secret_value(),
        "AWS_REGION": "default",
    }
    if as_json:
        write_json(variables)
        return
    for name, value in variables.items():
        write_line(f"export {name}={value}")


def status(folder: StackFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """Show what runs; ends with 1 if nothing does."""
    from functions.local import background  # noqa: PLC0415

    running = background.status(folder)
    if as_json:
        write_json(running)
    elif running is None:
        write_line(f"No stack runs in {folder}.")
    else:
        _show(running)
    if running is None:
        raise typer.Exit(ExitCode.REFUSED)


def _show(running: dict[str, Any]) -> None:
    """What runs, for a person: addresses, servers, functions with what their queues brought, timers."""
    for name in ("gateway_url", "s3_url", "repository_url", "vault_url", "management_url"):
        write_line(f"{name.removesuffix('_url'):<12} {running[name]}")
    if "services" not in running:
        write_line("It has not said yet what runs: ask again in a moment.")
        return
    restarts = running["radosgw_restarts"]
    servers = ", ".join(name if is_up else f"{name} (down)" for name, is_up in running["servers"].items())
    if restarts:
        servers += f"; RadosGW restarted {counted(restarts, 'time')}"
    write_line(f"{'servers':<12} {servers}")
    write_line("")
    sources = running["sources"]
    write_table(("service", "ready", "starts", "crashes", "handled", "given back"), _service_rows(running, sources))
    write_line("")
    rows = ((name, timer["schedule"], timer["next_time"], timer["sent"]) for name, timer in running["timers"].items())
    write_table(("timer", "schedule", "next", "sent"), rows)
    lost = [name for name, source in sources.items() if not source["connected"]]
    if lost:
        write_line(f"\nNot connected to RabbitMQ: {', '.join(lost)}.")


def _service_rows(running: dict[str, Any], sources: dict[str, Any]) -> list[tuple[object, ...]]:
    nothing = {"handled": "", "nacked": ""}
    return [
        (
            name,
            service["ready"],
            service["started"],
            service["crashed"] + service["failed_starts"],
            sources.get(name, nothing)["handled"],
            sources.get(name, nothing)["nacked"],
        )
        for name, service in running["services"].items()
    ]


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
