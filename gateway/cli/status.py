"""What workers see of a repository now, through its public URL, and waiting until they see something."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions.errors import RepositoryUnknown, Retryable
from gateway.cli.bucket_state import bucket_state
from gateway.cli.options import (
    DEFAULT_FOLDER,
    AsJson,
    Fqrn,
    MasterKeys,
    StackFolder,
    Timeout,
    public_keys,
    repository_path,
    tell_unsigned,
)
from gateway.cli.output import ago, counted, printable, shown_size, write_json, write_line
from gateway.cli.problems import problem_lines, read_problems, shown_problems
from gateway.cli.service import stack_file

if TYPE_CHECKING:
    from functions.cvmfs.address import Digest
    from functions.cvmfs.history import Tag
    from functions.cvmfs.reader import Fetch, Repository
    from functions.publishing.overview import Published
    from functions.publishing.records import Problem

POLL_S = 0.25
"""Seconds between two looks at the manifest."""

Base = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="BASE",
        envvar="REPOSITORY_URL",
        help="Where repositories are, as BASE/FQRN; without it, where the running local stack has them.",
        show_default=False,
    ),
]


class NotVisible(Retryable):
    """What was waited for has not become visible in time."""

    code = "not-visible"
    hint = "See `cvmfs-cloud status` for problems, or wait again."


class NotPublished(RepositoryUnknown):
    """There is no repository of this name at this URL."""

    hint = "Request it first, or name another --url."


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


def status(
    fqrn: Fqrn,
    *,
    url: Base = None,
    folder: StackFolder = DEFAULT_FOLDER,
    key: MasterKeys = None,
    as_json: AsJson = False,
) -> None:
    """Show the published revision of a repository and, where the local stack runs it, what is wrong with uploads."""
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.reader import MANIFEST_PATH, WHITELIST_PATH, Repository, fetch_file  # noqa: PLC0415
    from functions.cvmfs.whitelist import SignedWhitelist  # noqa: PLC0415
    from functions.publishing import overview  # noqa: PLC0415

    keys = public_keys(key or [])
    address = _address(url, folder, fqrn)
    fetch, exists = wiring.open_fetch(address)
    if not exists(MANIFEST_PATH):
        raise NotPublished(f"There is no repository at {address}.")
    now = wiring.utc_now()
    repository = Repository.open(fetch, public_keys=keys, fqrn=fqrn, now=now)
    whitelist = repository.whitelist or SignedWhitelist.from_bytes(fetch_file(fetch, WHITELIST_PATH)).unverified
    shown = Shown(
        address=address,
        published=overview.published_of(repository, whitelist),
        published_at=overview.published_at(repository.manifest),
        days_left=overview.days_left(whitelist, now),
        tags=repository.tags(),
        **_kept(fqrn, folder, address),
        now=now,
    )
    bucket = bucket_state(fqrn, folder, address)
    if as_json:
        write_json(shown.members() | bucket.members() | {"signatures_checked": keys is not None})
        return
    for line in (*shown.lines(), *bucket.lines()):
        write_line(line)
    tell_unsigned(keys)


def wait(
    fqrn: Fqrn,
    path: Annotated[str, typer.Argument(metavar="PATH", parser=repository_path, help="A path in the repository.")],
    *,
    url: Base = None,
    folder: StackFolder = DEFAULT_FOLDER,
    timeout: Timeout = 60.0,
    absent: Annotated[bool, typer.Option("--absent", help="Wait until the path is gone.")] = False,
    sha256: Annotated[
        str | None, typer.Option(metavar="HEX", help="Wait until the file has this content.", show_default=False)
    ] = None,
    key: MasterKeys = None,
) -> None:
    """Wait until workers can see a path; every revision is looked at once."""
    from functions import wiring  # noqa: PLC0415

    if absent and sha256:
        raise typer.BadParameter("what is gone has no content: leave out one of --absent and --sha256")
    keys = public_keys(key or [])
    address = _address(url, folder, fqrn)
    watch = _Watch(wiring.open_fetch(address)[0], fqrn, path, keys, absent=absent, sha256=sha256)
    give_up_at = time.monotonic() + timeout
    while (revision := watch.look(wiring.utc_now())) is None:
        left_s = give_up_at - time.monotonic()
        if left_s <= 0:
            raise NotVisible(f"{path or '/'}: {watch.outcome} after {timeout:g} s at {address}.")
        time.sleep(min(POLL_S, left_s))
    write_line(f"{fqrn} revision {revision}: {path or '/'} {watch.outcome}.")
    tell_unsigned(keys)


@dataclass(slots=True)
class _Watch:
    """Looks for something in one revision after the other."""

    fetch: Fetch
    fqrn: str
    path: str
    keys: list[bytes] | None
    absent: bool
    sha256: str | None
    outcome: str = "not looked at yet"
    seen: Digest | None = None

    def look(self, now: datetime) -> int | None:
        """The revision that has what is waited for; None if the published one has not."""
        from functions.cvmfs.reader import MANIFEST_PATH, Repository  # noqa: PLC0415

        try:
            if self.fetch(MANIFEST_PATH) is None:
                self.outcome = "no repository"
                return None
            repository = Repository.open(self.fetch, public_keys=self.keys, fqrn=self.fqrn, now=now)
            if repository.manifest.root == self.seen:
                return None
            reached = self._reached(repository)
        except Retryable as err:
            self.outcome = f"unknown ({err})"
            return None
        self.seen = repository.manifest.root
        return repository.manifest.revision if reached else None

    def _reached(self, repository: Repository) -> bool:
        snapshot = repository.snapshot()
        entry = snapshot.lookup(self.path)
        self.outcome = "is not there" if entry is None else "is there"
        if entry is None or self.absent:
            return self.absent and entry is None
        if self.sha256 is None:
            return True
        if not entry.is_regular:
            self.outcome = "is there, but is no regular file"
            return False
        content = hashlib.sha256()
        for block in snapshot.blocks(self.path):
            content.update(block)
        if content.hexdigest() == self.sha256.lower():
            return True
        self.outcome = "is there, with other content"
        return False


def _address(url: str | None, folder: Path, fqrn: str) -> str:
    """Where a repository is published."""
    base = url or stack_file(folder).get("repository_url")
    if not isinstance(base, str):
        raise typer.BadParameter(f"no stack runs in {folder}, so say where repositories are", param_hint="--url")
    return f"{base.rstrip('/')}/{fqrn}"


def _kept(fqrn: str, folder: Path, address: str) -> dict[str, Any]:
    """What the local stack keeps of a repository that it publishes at `address`, as members of Shown."""
    stack = stack_file(folder)
    mapping = stack.get("settings")
    if not isinstance(mapping, dict) or address != f"{str(stack.get('repository_url')).rstrip('/')}/{fqrn}":
        return {}
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.records import Standing, load_record  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    kept: dict[str, Any] = {"problems": read_problems(mapping, fqrn, known=False)}
    try:
        record = load_record(wiring.build_state(Settings.from_mapping(mapping)), fqrn)
    except RepositoryUnknown:
        return kept
    reason = f": {record.suspended_for}" if record.suspended_for else ""
    resting = None if record.standing is Standing.ACTIVE else f"{record.standing.value}{reason}"
    return kept | {"standing": record.standing.value, "resting": resting}
