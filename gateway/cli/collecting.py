"""Garbage of a repository that a running service has: asked for, or only found out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from gateway.cli.collect import members, say_outcome
from gateway.cli.opened import confirm
from gateway.cli.options import DEFAULT_FOLDER, AsJson, Fqrn, Gateway, StackFolder, Timeout, Wait, WouldGo, Yes
from gateway.cli.output import status_line, write_json
from gateway.cli.wishes import Service, ask, wished

if TYPE_CHECKING:
    from functions.publishing.collection import Collected
    from functions.settings import Settings

PATIENCE_S = 600.0


def gc(
    fqrn: Fqrn,
    *,
    dry_run: WouldGo = False,
    gateway: Gateway = None,
    folder: StackFolder = DEFAULT_FOLDER,
    yes: Yes = False,
    wait: Wait = False,
    timeout: Timeout = PATIENCE_S,
    as_json: AsJson = False,
) -> None:
    """Delete what no revision needs that is kept; the service does so by itself every week."""
    from events import CollectionRequested  # noqa: PLC0415
    from functions.publishing.retention import GRACE  # noqa: PLC0415

    service = Service.find(gateway, folder)
    if dry_run:
        collected = _found_out(fqrn, service.require_settings("--dry-run"))
        if as_json:
            write_json(members(collected, dry_run=True))
        else:
            say_outcome(collected, GRACE, dry_run=True)
        return
    confirm(f"Delete what {fqrn} does not need any more?", force=yes)
    wish = wished(CollectionRequested, repository=fqrn)
    ask(service, [wish], f"The garbage of {fqrn} is collected.", wait=wait, timeout=timeout, as_json=as_json)


def _found_out(fqrn: str, settings: Settings) -> Collected:
    """What a collection would do now; reads, and asks nobody for a key."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.collection import Collector  # noqa: PLC0415
    from functions.publishing.records import load_record  # noqa: PLC0415
    from functions.publishing.retention import Retention  # noqa: PLC0415

    cloud = wiring.cloud_of(settings)
    kept_s = load_record(cloud.state, fqrn).settings.keep_revisions_s
    since = cloud.clock() - timedelta(seconds=settings.keep_revisions_s if kept_s is None else kept_s)
    with status_line("looking at what is kept"):
        return Collector(cloud.publisher(fqrn), Retention(since=int(since.timestamp()))).collect(dry_run=True)
