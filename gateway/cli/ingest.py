"""Publishing archives without unpacking them anywhere."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.opened import CACHE_BYTES, THREADS, open_live, require_signing_key
from gateway.cli.options import AsJson, Autotag, CheckedName, Keys, NewTag, NewTagMessage, Storage, repository_path
from gateway.cli.output import counted, now_and_then, printable, progress_bar, say, shown_size, write_json, write_line
from gateway.cli.repo import require_free_tag
from gateway.cli.tree_options import shown_remarks

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from functions.publishing.archive_publish import ArchiveSource, Ingested, Progress
    from functions.publishing.archive_rules import ArchiveLimits


def ingest(
    archive: Annotated[
        str | None,
        typer.Argument(
            metavar="ARCHIVE",
            help="A tar archive, compressed or not, or a zip archive; - reads a tar archive from standard input.",
        ),
    ] = None,
    fqrn: CheckedName = None,
    *,
    storage: Storage,
    keys: Keys,
    base_dir: Annotated[
        str,
        typer.Option(
            "--base-dir",
            "--base_dir",
            "-b",
            metavar="/DIR",
            parser=repository_path,
            show_default="/",
            help="Where in the repository the archive is unpacked.",
        ),
    ] = "",
    delete: Annotated[
        list[str] | None,
        typer.Option(
            "--delete",
            "-d",
            metavar="/PATH",
            parser=repository_path,
            help="Remove a path, with all below it, before; can be given several times.",
        ),
    ] = None,
    catalog: Annotated[
        bool, typer.Option("--catalog", "-c", help="Make --base-dir a nested catalog of its own.")
    ] = False,
    no_limits: Annotated[
        bool,
        typer.Option(
            "--no-limits", help="Trust the archive: unpack it however many members it has and large they are."
        ),
    ] = False,
    tag: NewTag = None,
    message: NewTagMessage = "",
    autotag: Autotag = None,
    as_json: AsJson = False,
) -> None:
    """Add what an archive holds to the repository, below --base-dir, in one new revision.

    Members replace what has their names, everything else stays; to get exactly the archive, --delete the directory in
    the same call. Nothing is unpacked on disk, and nothing is published of an archive that is damaged.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.archive_publish import ArchivePublish  # noqa: PLC0415
    from functions.publishing.commit import Publisher  # noqa: PLC0415
    from functions.publishing.creation import kept_settings  # noqa: PLC0415
    from functions.publishing.head import ObjectCache, read_history  # noqa: PLC0415
    from functions.publishing.objects import Objects  # noqa: PLC0415
    from functions.publishing.revision import AutoTags, TagRequest  # noqa: PLC0415

    if archive is None and not delete:
        raise typer.BadParameter("name one, or something to --delete", param_hint="ARCHIVE")
    if message and tag is None:
        raise typer.BadParameter("a message describes a tag: give --tag too", param_hint="--message")
    began = time.monotonic()
    store, manifest = open_live(storage, fqrn)
    require_signing_key(store, manifest, keys)
    kept = kept_settings(manifest, store)
    auto_tags = kept.auto_tags if autotag is None else (kept.auto_tags or AutoTags()) if autotag else None
    cache = ObjectCache(CACHE_BYTES)
    if tag is not None:
        require_free_tag(tag, read_history(Objects(store), cache, manifest))
    signer = wiring.open_keys(keys).signer(manifest.fqrn)
    with ExitStack() as held:
        executor = held.enter_context(ThreadPoolExecutor(THREADS))
        source: ArchiveSource | None = None
        if archive is not None:
            source = held.enter_context(wiring.open_archive(archive))
        bar = held.enter_context(progress_bar())
        job = ArchivePublish(
            Publisher(manifest.fqrn, store, signer, cache, executor, wiring.utc_now, auto_tags=auto_tags),
            base_dir,
            kept.recipe,
            source,
            delete=delete or (),
            nested=catalog,
            limits=_limits(trusted=no_limits),
        )
        ingested = job.publish(tag=None if tag is None else TagRequest(tag, message), progress=_told(bar))
    _show_outcome(ingested, seconds=time.monotonic() - began, as_json=as_json)


def _limits(*, trusted: bool) -> ArchiveLimits:
    from functions.publishing.archive_rules import ArchiveLimits  # noqa: PLC0415

    return ArchiveLimits.none() if trusted else ArchiveLimits()


def _told(bar: Bar | None) -> Progress:
    """What moves a progress display while an archive is unpacked; nobody knows how much is still to come."""
    if bar is None:
        return lambda _members, _bytes: None
    task = bar.add_task("unpacking", total=None)

    def told(members: int, content_bytes: int) -> None:
        bar.update(task, completed=content_bytes, description=f"{members:,} members")

    return now_and_then(told)


def _show_outcome(ingested: Ingested, *, seconds: float, as_json: bool) -> None:
    published, laid = ingested.published, ingested.laid
    manifest = published.manifest
    remarks = [f"There was no {path} to delete." for path in laid.missing] + list(published.dirtab.remarks)
    counts = {
        "added": laid.added,
        "changed": laid.changed,
        "deleted": len(laid.deleted),
        "unchanged": laid.unchanged,
    }
    if as_json:
        write_json(
            {
                "repository": manifest.fqrn,
                "revision": manifest.revision,
                "root_hash": str(manifest.root),
                "published": published.changed,
                **counts,
                "members": ingested.members,
                "content_bytes": ingested.content_bytes,
                "seconds": round(seconds, 3),
                "remarks": remarks,
            }
        )
        return
    for remark in shown_remarks(remarks):
        say(printable(remark))
    in_words = ", ".join(f"{number:,} {what}" for what, number in counts.items())
    if published.changed:
        write_line(f"Published {manifest.fqrn}, revision {manifest.revision}: {in_words}.")
        read = f"{counted(ingested.members, 'member')}, {shown_size(ingested.content_bytes)}"
        say(f"Unpacked {read}, in {seconds:.2f} s; root hash {manifest.root}")
    else:
        write_line(f"Nothing to publish: {manifest.fqrn}, revision {manifest.revision}, has all of it already.")
