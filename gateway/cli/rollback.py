"""Going back to an older revision."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.opened import confirm, open_publisher
from gateway.cli.options import AsJson, CheckedName, Force, Keys, Storage
from gateway.cli.output import say, write_json, write_line
from gateway.cli.tag import as_members


def rollback(
    *,
    storage: Storage,
    keys: Keys,
    fqrn: CheckedName = None,
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag", "-t", metavar="NAME", help="Go back to this tag.", show_default="trunk-previous: undo once"
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Publish the content of an older revision as the newest one; tags of the revisions between are removed.

    The number of the revision grows. After an undo there is nothing to undo until the next publish.
    """
    from functions.publishing.rollback import roll_back  # noqa: PLC0415

    with open_publisher(storage, keys, fqrn) as publisher:
        question = "UNDO the last published revision" if tag is None else f"ROLL BACK to {tag} AS THE LATEST REVISION"
        confirm(f"{question} of {publisher.fqrn}?", force=force)
        outcome = roll_back(publisher, tag)
    manifest = outcome.manifest
    if as_json:
        write_json(
            {
                "repository": manifest.fqrn,
                "revision": manifest.revision,
                "root_hash": str(manifest.root),
                "target": as_members(outcome.target),
                "removed_tags": [as_members(removed) for removed in outcome.removed],
            }
        )
        return
    write_line(
        f"Rolled back {manifest.fqrn} to revision {outcome.target.revision} ({outcome.target.name}), "
        f"which is now revision {manifest.revision}."
    )
    for removed in outcome.removed:
        say(f"Removed the tag {removed.name}, which was on revision {removed.revision} ({removed.root}).")
