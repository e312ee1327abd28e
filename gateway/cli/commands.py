"""The table of all commands of ``cvmfs-cloud``, and the program made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Final

import typer

from gateway.cli.output import EXIT_CODES, Commands


@dataclass(frozen=True, slots=True)
class Group:
    """Commands below one word: their names, and where in this package each function is."""

    about: str
    commands: Mapping[str, str]


TOP: Final = Group(
    "CVMFS repositories from S3 buckets: ask a running service, publish and check repositories, try it all out.",
    MappingProxyType(
        {
            "status": "status.status",
            "wait": "waiting.wait",
            "problems": "problems.problems",
            "tag": "lifecycle.tag",
            "rollback": "lifecycle.rollback",
            "resign": "lifecycle.resign",
            "gc": "collecting.gc",
            "sync": "sync.sync",
            "demo": "stack.demo",
        }
    ),
)

GROUPS: Final[Mapping[str, Group]] = MappingProxyType(
    {
        "repo": Group(
            "Make, publish, check and read repositories, in a folder or behind HTTP.",
            MappingProxyType(
                {
                    "mkfs": "repo.mkfs",
                    "publish": "repo.publish",
                    "ingest": "ingest.ingest",
                    "check": "check.check",
                    "ls": "browse.list_entries",
                    "cat": "browse.cat",
                    "diff": "diff.diff",
                    "tag": "tag.tag",
                    "rollback": "rollback.rollback",
                    "gc": "collect.collect",
                    "resign": "resign.resign",
                    "import": "importing.import_repository",
                    "update-info": "importing.update_info",
                }
            ),
        ),
        "repository": Group(
            "Suspend, resume, set and delete repositories of a running service.",
            MappingProxyType(
                {
                    "suspend": "lifecycle.suspend",
                    "resume": "lifecycle.resume",
                    "set": "lifecycle.change",
                    "delete": "lifecycle.delete",
                }
            ),
        ),
        "queue": Group(
            "Look at messages that no function could handle; send them again, or drop them.",
            MappingProxyType(
                {
                    "list": "queue.list_queues",
                    "show": "queue.show",
                    "redrive": "queue.redrive",
                    "drop": "queue.drop",
                }
            ),
        ),
        "stack": Group(
            "Run the whole service on this machine, with real servers.",
            MappingProxyType(
                {"up": "stack.up", "down": "stack.down", "status": "stack.status", "user": "stack.user"},
            ),
        ),
    }
)


def program(arguments: Sequence[str] = ()) -> typer.Typer:
    """The program; for `arguments` that begin with a group, that group alone.

    Making a command costs a few milliseconds, imports included, and a process runs one.
    """
    app = typer.Typer(
        cls=Commands,
        help=TOP.about,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    only = arguments[0] if arguments and arguments[0] in GROUPS else None
    for name, group in GROUPS.items():
        if only in {None, name}:
            below = typer.Typer(help=group.about, epilog=EXIT_CODES, no_args_is_help=True)
            _add(below, group)
            app.add_typer(below, name=name)
    if only is None:
        _add(app, TOP)
    return app


def _add(app: typer.Typer, group: Group) -> None:
    for name, place in group.commands.items():
        module, _, function = place.partition(".")
        app.command(name, epilog=EXIT_CODES)(getattr(import_module(f"gateway.cli.{module}"), function))
