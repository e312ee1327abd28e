"""How the demo tells its story on a terminal, and the figures that it keeps for the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.status import Status
from rich.table import Table

from functions.local.demo.watching import Seen, Watcher, percentiles
from functions.local.runtime.instances import ServiceStatus


class Teller:
    """Tells on a console; with `each`, the time of every upload."""

    def __init__(self, console: Console, *, each: bool = False) -> None:
        self._console = console
        self._each = each
        self._groups: list[tuple[str, list[Seen]]] = []

    def heading(self, text: str) -> None:
        """Begin a step."""
        self.say(f"\n[bold cyan]▌[/] [bold]{text}[/]")

    def say(self, text: str, *, highlight: bool = True) -> None:
        """One line, not folded by us: a terminal folds it, a log keeps it whole."""
        self._console.print(text, soft_wrap=True, highlight=highlight)

    def pairs(self, rows: Iterable[tuple[str, str]]) -> None:
        """Names and values below each other."""
        table = Table(show_header=False, box=None, padding=(0, 2))
        for row in rows:
            table.add_row(*row)
        self._console.print(table)

    def meanwhile(self, text: str) -> Status:
        """What goes on, shown as long as the context is open."""
        return self._console.status(text)

    def bars(self, *names: str, total: int) -> Progress:
        """A bar for each name, shown as long as the context is open."""
        progress = Progress(
            SpinnerColumn(),
            TextColumn("  {task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        for name in names:
            progress.add_task(name, total=total)
        return progress

    def visible(self, name: str, seen: list[Seen]) -> None:
        """Keep the figures of a step, and show them: by upload if asked for, else by revision."""
        self._groups.append((name, seen))
        revisions = sorted({item.revision for item in seen})
        if self._each:
            for item in seen:
                self.say(f"  revision {item.revision:<4} {item.seconds:6.2f} s  {item.path}", highlight=False)
        elif len(revisions) < len(seen):
            for revision in revisions:
                times = [item.seconds for item in seen if item.revision == revision]
                self.say(
                    f"  revision {revision:<4} {len(times):5} uploads visible, "
                    f"{min(times):.2f} to {max(times):.2f} s after their PUT",
                    highlight=False,
                )

    def summary(self, watcher: Watcher, services: Mapping[str, ServiceStatus]) -> None:
        """The figures of all steps, the revisions that were seen, and how the functions were started."""
        self.heading("Numbers")
        table = Table("", "uploads", "revisions", "median", "p99", "slowest", title="PUT returned → visible, seconds")
        for name, seen in self._groups:
            figures = percentiles(seen)
            table.add_row(
                name,
                str(len(seen)),
                str(len({item.revision for item in seen})),
                *(f"{figures[key]:.2f}" for key in ("median", "p99", "max")),
            )
        self._console.print(table)
        latest = max(item.revision for item in watcher.seen)
        self.say(f"  revision {latest} is live; {watcher.revisions} revisions were seen and verified")
        for name, state in services.items():
            starts = ", ".join(f"{seconds:.2f} s" for seconds in state.cold_starts_s) or "none"
            self.say(f"  {name}: {state.ready} ready now; starts from zero: {starts}", highlight=False)
