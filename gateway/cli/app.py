"""All commands of ``cvmfs-cloud``."""

from __future__ import annotations

import typer

from gateway.cli import (
    browse,
    check,
    collect,
    collecting,
    diff,
    importing,
    ingest,
    lifecycle,
    problems,
    queue,
    repo,
    resign,
    rollback,
    stack,
    status,
    sync,
    tag,
)
from gateway.cli.output import EXIT_CODES, Commands

app = typer.Typer(
    cls=Commands,
    help="CVMFS repositories from S3 buckets: ask a running service, publish and check repositories, try it all out.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
repositories = typer.Typer(
    help="Make, publish, check and read repositories, in a folder or behind HTTP.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
stack_commands = typer.Typer(
    help="Run the whole service on this machine, with real servers.", epilog=EXIT_CODES, no_args_is_help=True
)
queue_commands = typer.Typer(
    help="Look at messages that no function could handle; send them again, or drop them.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
)
service_repositories = typer.Typer(
    help="Suspend, resume, set and delete repositories of a running service.", epilog=EXIT_CODES, no_args_is_help=True
)
app.add_typer(repositories, name="repo")
app.add_typer(service_repositories, name="repository")
app.add_typer(queue_commands, name="queue")
app.add_typer(stack_commands, name="stack")

repositories.command("mkfs", epilog=EXIT_CODES)(repo.mkfs)
repositories.command("publish", epilog=EXIT_CODES)(repo.publish)
repositories.command("ingest", epilog=EXIT_CODES)(ingest.ingest)
repositories.command("check", epilog=EXIT_CODES)(check.check)
repositories.command("ls", epilog=EXIT_CODES)(browse.list_entries)
repositories.command("cat", epilog=EXIT_CODES)(browse.cat)
repositories.command("diff", epilog=EXIT_CODES)(diff.diff)
repositories.command("tag", epilog=EXIT_CODES)(tag.tag)
repositories.command("rollback", epilog=EXIT_CODES)(rollback.rollback)
repositories.command("gc", epilog=EXIT_CODES)(collect.collect)
repositories.command("resign", epilog=EXIT_CODES)(resign.resign)
repositories.command("import", epilog=EXIT_CODES)(importing.import_repository)
repositories.command("update-info", epilog=EXIT_CODES)(importing.update_info)
app.command("status", epilog=EXIT_CODES)(status.status)
app.command("wait", epilog=EXIT_CODES)(status.wait)
app.command("problems", epilog=EXIT_CODES)(problems.problems)
app.command("tag", epilog=EXIT_CODES)(lifecycle.tag)
app.command("rollback", epilog=EXIT_CODES)(lifecycle.rollback)
app.command("resign", epilog=EXIT_CODES)(lifecycle.resign)
app.command("gc", epilog=EXIT_CODES)(collecting.gc)
app.command("sync", epilog=EXIT_CODES)(sync.sync)
app.command("demo", epilog=EXIT_CODES)(stack.demo)

service_repositories.command("suspend", epilog=EXIT_CODES)(lifecycle.suspend)
service_repositories.command("resume", epilog=EXIT_CODES)(lifecycle.resume)
service_repositories.command("set", epilog=EXIT_CODES)(lifecycle.change)
service_repositories.command("delete", epilog=EXIT_CODES)(lifecycle.delete)
stack_commands.command("up", epilog=EXIT_CODES)(stack.up)
stack_commands.command("down", epilog=EXIT_CODES)(stack.down)
stack_commands.command("status", epilog=EXIT_CODES)(stack.status)
stack_commands.command("user", epilog=EXIT_CODES)(stack.user)

queue_commands.command("list", epilog=EXIT_CODES)(queue.list_queues)
queue_commands.command("show", epilog=EXIT_CODES)(queue.show)
queue_commands.command("redrive", epilog=EXIT_CODES)(queue.redrive)
queue_commands.command("drop", epilog=EXIT_CODES)(queue.drop)
