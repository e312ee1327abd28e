"""Making repositories and publishing local trees into them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from functions.errors import TagTaken
from gateway.cli.opened import CACHE_BYTES, THREADS, FolderTaken, open_live, require_signing_key, shown_storage
from gateway.cli.options import (
    AsJson,
    Autotag,
    CheckedName,
    Fqrn,
    Keys,
    NewTag,
    NewTagMessage,
    Storage,
    repository_path,
    require_tag_name,
)
from gateway.cli.output import counted, now_and_then, printable, progress_bar, say, shown_size, write_json, write_line
from gateway.cli.tree_options import AllowEmpty, Checksum, Compressed, Owner, Xattrs, shown_remarks

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from functions.cvmfs.history import History
    from functions.publishing.commit import Published
    from functions.publishing.tree_publish import Progress
    from functions.publishing.tree_sync import SyncPlan


def mkfs(
    fqrn: Fqrn,
    *,
    storage: Storage,
    keys: Keys,
    algorithm: Annotated[
        Literal["sha1", "rmd160", "shake128"], typer.Option("--hash", help="The hash that names objects.")
    ] = "sha1",
    compression: Annotated[Literal["zlib", "none"], typer.Option(help="How the content of files is stored.")] = "zlib",
    ttl: Annotated[
        int, typer.Option(metavar="SECONDS", min=1, help="How long clients keep a revision before they look again.")
    ] = 240,
    no_autotags: Annotated[
        bool, typer.Option("--no-autotags", "-g", help="Do not tag revisions that get no name of their own.")
    ] = False,
    autotag_days: Annotated[
        int | None,
        typer.Option(
            "--autotag-days", "-G", metavar="DAYS", min=1, help="How long automatic tags stay; for ever by default."
        ),
    ] = None,
    server_info: Annotated[
        bool, typer.Option("--server-info", help="Enter it into info/v1/repositories.json above its storage.")
    ] = False,
) -> None:
    """Make a repository: its keys, where they are missing, and an empty first revision."""
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.address import HashAlgorithm  # noqa: PLC0415
    from functions.cvmfs.certificate import Certificate  # noqa: PLC0415
    from functions.cvmfs.compression import Compression  # noqa: PLC0415
    from functions.publishing.creation import NewRepository, create_repository  # noqa: PLC0415
    from functions.publishing.head import read_head  # noqa: PLC0415
    from functions.publishing.revision import AutoTags  # noqa: PLC0415
    from functions.publishing.server_info import enlist  # noqa: PLC0415

    store = wiring.open_storage(storage)
    head = read_head(store)
    if head is not None:
        raise FolderTaken(
            f"{shown_storage(storage)} holds {head.manifest.fqrn} already, at revision {head.manifest.revision}."
        )
    server = wiring.open_server(storage, fqrn) if server_info else None
    key_files = wiring.open_keys(keys)
    now = wiring.utc_now()
    public = key_files.ensure_keys(fqrn, now=now)
    new = NewRepository(
        fqrn,
        algorithm=HashAlgorithm(algorithm),
        ttl_s=ttl,
        compression=Compression[compression.upper()],
        auto_tags=None if no_autotags else AutoTags(None if autotag_days is None else timedelta(days=autotag_days)),
    )
    manifest = create_repository(
        store, key_files.signer(fqrn), Certificate.from_pem(public.certificate.encode()), new, now=now
    )
    if server is not None:
        enlist(server, fqrn)
    write_line(f"Made {fqrn}, revision {manifest.revision}, in {shown_storage(storage)}.")
    write_line(f"Its keys are in {keys}; clients need {keys / f'{fqrn}.pub'}.")
    say(f"Next: cvmfs-cloud repo publish {fqrn} --from TREE --storage {storage} --keys {keys}")


def publish(
    *,
    tree: Annotated[
        Path,
        typer.Option(
            "--from", metavar="TREE", exists=True, show_default=False, help="The folder to publish, or one file."
        ),
    ],
    storage: Storage,
    keys: Keys,
    fqrn: CheckedName = None,
    path: Annotated[
        str,
        typer.Option(
            metavar="/PATH", parser=repository_path, show_default="/", help="Where in the repository the tree goes."
        ),
    ] = "",
    tag: NewTag = None,
    message: NewTagMessage = "",
    autotag: Autotag = None,
    owner: Owner = None,
    xattrs: Xattrs = False,
    compression: Compressed = None,
    checksum: Checksum = False,
    allow_empty: AllowEmpty = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the repository, below --path, equal to a local tree: add, change and remove what differs.

    Files are compared by size, mode and time of modification; only those that differ are read. What others publish
    meanwhile stays; where both changed the same path, this publish wins, and says so.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.compression import Compression  # noqa: PLC0415
    from functions.publishing.commit import Publisher  # noqa: PLC0415
    from functions.publishing.creation import kept_settings  # noqa: PLC0415
    from functions.publishing.head import ObjectCache, read_history  # noqa: PLC0415
    from functions.publishing.objects import Objects  # noqa: PLC0415
    from functions.publishing.revision import AutoTags, TagRequest  # noqa: PLC0415
    from functions.publishing.tree_publish import TreePublish  # noqa: PLC0415

    if message and tag is None:
        raise typer.BadParameter("a message describes a tag: give --tag too", param_hint="--message")
    began = time.monotonic()
    store, manifest = open_live(storage, fqrn)
    name = manifest.fqrn
    signer = wiring.open_keys(keys).signer(name)
    if not dry_run:
        require_signing_key(store, manifest, keys)
    kept = kept_settings(manifest, store)
    auto_tags = kept.auto_tags if autotag is None else (kept.auto_tags or AutoTags()) if autotag else None
    cache = ObjectCache(CACHE_BYTES)
    if tag is not None:
        require_free_tag(tag, read_history(Objects(store), cache, manifest))
    with ThreadPoolExecutor(THREADS) as executor:
        publisher = Publisher(name, store, signer, cache, executor, wiring.utc_now, auto_tags=auto_tags)
        recipe = replace(kept.recipe, compression=Compression[compression.upper()]) if compression else kept.recipe
        source = wiring.open_tree(tree, owner=owner, xattrs=xattrs)
        job = TreePublish(publisher, source, path, recipe, may_empty=allow_empty, by_content=checksum)
        if dry_run:
            _show_plan(job.plan(), name, as_json=as_json)
            return
        with progress_bar() as bar:
            request = None if tag is None else TagRequest(tag, message)
            published, plan = job.publish(tag=request, progress=_told(bar))
    _show_outcome(published, plan, seconds=time.monotonic() - began, as_json=as_json)


def require_free_tag(name: str, history: History) -> None:
    """Refuse a tag that cannot be put on the new revision, before anything is read or stored."""
    require_tag_name(name, "--tag")
    if history.tag(name) is not None:
        raise TagTaken(f"There is a tag {name!r} already.")


def _told(bar: Bar | None) -> Progress:
    """What moves a progress display while contents are stored."""
    if bar is None:
        return lambda _plan, _files, _bytes: None
    task = bar.add_task("publishing", total=None)

    def told(plan: SyncPlan, files: int, content_bytes: int) -> None:
        total = sum(item.size for item in plan.files.values())
        bar.update(task, total=total, completed=content_bytes, description=f"{files:,} of {len(plan.files):,} files")

    return now_and_then(told)


def _counts(plan: SyncPlan) -> dict[str, int]:
    from functions.publishing.tree_sync import ChangeKind  # noqa: PLC0415

    return {
        "added": plan.count(ChangeKind.ADD),
        "changed": plan.count(ChangeKind.CHANGE),
        "removed": plan.count(ChangeKind.REMOVE),
        "unchanged": plan.unchanged,
    }


def _in_words(plan: SyncPlan) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in _counts(plan).items())


def _show_plan(plan: SyncPlan, name: str, *, as_json: bool) -> None:
    if as_json:
        changes = [{"kind": change.kind.name.lower(), "path": change.path} for change in plan.changes]
        write_json({"repository": name, **_counts(plan), "remarks": plan.remarks, "changes": changes})
        return
    _say_remarks(plan.remarks)
    for change in sorted(plan.changes, key=lambda change: change.path):
        write_line(f"{change.kind.value} {change.path}")
    say(f"{name} would change: {_in_words(plan)}. Nothing was written.")


def _say_remarks(remarks: Sequence[str]) -> None:
    for remark in shown_remarks(remarks):
        say(printable(remark))


def _show_outcome(published: Published, plan: SyncPlan, *, seconds: float, as_json: bool) -> None:
    manifest = published.manifest
    remarks = [*plan.remarks, *published.dirtab.remarks]
    conflicts = [] if published.merged is None else published.merged.conflicts
    if as_json:
        write_json(
            {
                "repository": manifest.fqrn,
                "revision": manifest.revision,
                "root_hash": str(manifest.root),
                "published": published.changed,
                **_counts(plan),
                "read_files": len(plan.files),
                "read_bytes": sum(item.size for item in plan.files.values()),
                "seconds": round(seconds, 3),
                "remarks": remarks,
                "merged": published.merged is not None,
                "conflicts": [{"path": conflict.path, "kind": conflict.kind.value} for conflict in conflicts],
            }
        )
        return
    _say_remarks(remarks)
    if published.merged is not None:
        say("Somebody else published meanwhile: both are kept.")
    _say_remarks([f"Conflict at {conflict.path or '/'}: {conflict.kind.outcome}." for conflict in conflicts])
    if published.changed:
        size = shown_size(sum(item.size for item in plan.files.values()))
        write_line(f"Published {manifest.fqrn}, revision {manifest.revision}: {_in_words(plan)}.")
        say(f"Read {counted(len(plan.files), 'file')}, {size}, in {seconds:.2f} s; root hash {manifest.root}")
    else:
        write_line(f"Nothing to publish: {manifest.fqrn}, revision {manifest.revision}, is equal already.")
