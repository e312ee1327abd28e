"""How the command line speaks: results on standard output, everything else on standard error.

An error is a message and a next step; its kind decides the exit code.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
from typer._click.exceptions import NoArgsIsHelpError, UsageError
from typer.core import TyperGroup

from functions.cvmfs.errors import FormatError
from functions.errors import CloudError, Retryable, StoreUnavailable, sentence

if TYPE_CHECKING:
    from rich.progress import Progress

P = ParamSpec("P")

EXIT_CODES = "Exit codes: 0 done; 1 findings, or refused; 2 wrong usage; 3 failed for now, try again."

SHOWN_EVERY_S = 0.1

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

_WIDE = 10_000
"""Columns of a table that no terminal shows: nothing is cut for a program that reads it."""


class ExitCode(IntEnum):
    """What a process ends with."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    TRY_AGAIN = 3


class Commands(TyperGroup):
    """The group of all commands, which turns errors into messages of one line and exit codes."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read what stands before the name of a command."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except UsageError as err:
            raise _misused(err) from err

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except UsageError as err:
            raise _misused(err) from err
        except KeyboardInterrupt:
            say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except StoreUnavailable as err:
            message = sentence(f"{err}") + " Are address and keys right, and is the server up? Then try again."
            raise _ended(message, ExitCode.TRY_AGAIN) from err
        except CloudError as err:
            code = ExitCode.TRY_AGAIN if isinstance(err, Retryable) else ExitCode.REFUSED
            raise _ended(err.explained(), code) from err
        except FormatError as err:
            message = sentence(f"The repository is damaged: {err}") + " Look at it with `cvmfs-cloud repo check`."
            raise _ended(message, ExitCode.REFUSED) from err
        except OSError as err:
            if err.filename is None:
                raise
            raise _ended(f"{err.filename}: {err.strerror}.", ExitCode.REFUSED) from err


def _ended(message: str, code: ExitCode) -> typer.Exit:
    say("Error: " + printable(message, keep="\n"))
    return typer.Exit(code)


def _misused(err: UsageError) -> Exception:
    """The end of a command that was called wrongly; a group without a command shows its help instead."""
    if isinstance(err, NoArgsIsHelpError):
        return err
    where = "" if err.ctx is None else f" See `{err.ctx.command_path} --help`."
    return _ended(sentence(err.format_message()) + where, ExitCode.USAGE)


def say(text: str) -> None:
    """A line for the person at the terminal, out of the way of results."""
    typer.echo(text, err=True)


def write_line(text: str) -> None:
    """A line of the result; bytes of names that are no UTF-8 come out as they are."""
    typer.echo(text.encode("utf-8", "surrogateescape"))


def write_json(result: Any) -> None:
    """The result as one JSON value."""
    typer.echo(json.dumps(result, indent=2))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """The result as a table; cut to the width of a terminal, never in a pipe."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(printable(str(cell)) for cell in row))
    is_terminal = sys.stdout.isatty()
    console = Console(width=None if is_terminal else _WIDE, markup=False, highlight=False, emoji=False)
    if is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        typer.echo(line.rstrip())


def printable(text: str, *, keep: str = "") -> str:
    """`text` without anything that moves a cursor, changes colours or breaks an encoder."""
    return "".join(
        character if character.isprintable() or character in keep else ascii(character)[1:-1] for character in text
    )


def shown_size(size: float) -> str:
    """A number of bytes for a person: ``934 B``, ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: ``1 file``, ``2 files``."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def ago(age: timedelta) -> str:
    """How long ago something was: ``3 hours ago``; what lies in the future is now."""
    seconds = max(0, int(age.total_seconds()))
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * size:
            return f"{counted(seconds // size, unit)} ago"
    return f"{counted(seconds, 'second')} ago"


@contextmanager
def status_line(text: str) -> Iterator[Callable[[str], None]]:
    """A line on a terminal that says what is being done, and takes another text; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _text: None
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(text) as display:
        yield display.update


def now_and_then(show: Callable[P, None]) -> Callable[P, None]:
    """`show` for what is called far more often than anybody can read: at most every SHOWN_EVERY_S."""
    shown_at = 0.0

    def shown(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal shown_at
        now = time.monotonic()
        if now - shown_at >= SHOWN_EVERY_S:
            shown_at = now
            show(*args, **kwargs)

    return shown


@contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A progress display on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield progress
