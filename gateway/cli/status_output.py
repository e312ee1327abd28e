"""How the published revision of a repository is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.cli.output import ago, counted, printable, shown_size
from gateway.cli.problems import problem_lines, shown_problems

if TYPE_CHECKING:
    from functions.cvmfs.history import Tag
    from functions.publishing.overview import Published
    from functions.publishing.records import Problem


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of a repository; `problems` and `standing` are None where nobody can be asked.

    `resting` says why nothing is published at the moment, if it is so.
    """

    address: str
    published: Published
    published_at: datetime
    days_left: float
    tags: list[Tag]
    now: datetime
    problems: list[Problem] | None = None
    standing: str | None = None
    resting: str | None = None

    def members(self) -> dict[str, object]:
        """For programs."""
        problems, published = self.problems, self.published
        return {
            "repository": published.manifest.fqrn,
            "url": self.address,
            "revision": published.manifest.revision,
            "root_hash": str(published.manifest.root),
            "published_at": self.published_at.isoformat(),
            "catalogs": published.catalogs,
            "entries": published.entries,
            "bytes": published.counters.file_size,
            "whitelist_valid_until": published.whitelist.valid_until.isoformat(),
            "whitelist_days_left": round(self.days_left, 2),
            "tags": [{"name": tag.name, "revision": tag.revision} for tag in self.tags],
            "standing": self.standing,
            "rolled_back": None
            if published.pin is None
            else {"to_revision": published.pin.target, "held_before": published.pin.held_before},
            "problems": None if problems is None else shown_problems(problems),
        }

    def lines(self) -> list[str]:
        """For a person."""
        published = self.published
        manifest = published.manifest
        content = counted(published.entries, "entry", "entries")
        catalogs = counted(published.catalogs, "catalog")
        rows = [
            ("repository", manifest.fqrn),
            ("url", self.address),
            ("revision", f"{manifest.revision}, root hash {manifest.root}"),
            ("published", f"{self.published_at:%Y-%m-%d %H:%M:%S} UTC, {ago(self.now - self.published_at)}"),
            ("content", f"{content}, {shown_size(published.counters.file_size)}, {catalogs}"),
            (
                "whitelist",
                f"{self.days_left:.1f} days left, until {published.whitelist.valid_until:%Y-%m-%d %H:%M} UTC",
            ),
            ("tags", ", ".join(f"{tag.name} ({tag.revision})" for tag in self.tags) or "none"),
        ]
        if self.resting is not None:
            rows.append(("standing", self.resting))
        pin = self.published.pin
        if pin is not None:
            held = datetime.fromtimestamp(pin.held_before, UTC)
            stays_out = f"what was uploaded before {held:%Y-%m-%d %H:%M:%S} UTC stays out"
            rows.append(("rolled back", f"to revision {pin.target}; {stays_out}"))
        if self.problems is not None:
            rows.append(("problems", str(len(self.problems) or "none")))
        lines = [f"{name:<11} {value}" for name, value in rows]
        lines += [f"  {line}" for line in problem_lines(self.problems or ())]
        return [printable(line) for line in lines]
