"""What changed between two revisions of a repository."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from functions.errors import TagUnknown
from gateway.cli.browse import PathUnknown, open_repository
from gateway.cli.diff_output import changes_of, write_as_json, write_for_machines, write_for_people
from gateway.cli.options import AsJson, Location, MasterKeys, repository_path

if TYPE_CHECKING:
    from functions.cvmfs.reader import Repository
    from functions.cvmfs.revisions import Revision


class RevisionUnknown(TagUnknown):
    """There is no such revision, or it is not there any more."""

    hint = "Name a tag (`cvmfs-cloud repo tag` lists them), the number of a revision, or a root hash."


def diff(
    location: Location,
    old: Annotated[
        str | None,
        typer.Argument(
            metavar="FROM",
            help="The older revision: a tag, a number or a root hash.",
            show_default="trunk-previous",
        ),
    ] = None,
    new: Annotated[str | None, typer.Argument(metavar="TO", help="The newer revision.", show_default="trunk")] = None,
    *,
    source: Annotated[
        str | None, typer.Option("--from", "-s", metavar="REVISION", help="The same as FROM.", show_default=False)
    ] = None,
    destination: Annotated[
        str | None, typer.Option("--to", "-d", metavar="REVISION", help="The same as TO.", show_default=False)
    ] = None,
    path: Annotated[
        str,
        typer.Option(metavar="/PATH", parser=repository_path, show_default="/", help="Look only at and below this."),
    ] = "",
    ignore_timediff: Annotated[
        bool, typer.Option("--ignore-timediff", "-i", help="Leave out what differs in nothing but its time.")
    ] = False,
    catalogs: Annotated[
        bool, typer.Option("--catalogs", "-c", help="Show where nested catalogs begin and end, too.")
    ] = False,
    header: Annotated[bool, typer.Option("--header", "-h", help="Say first what is compared.")] = False,
    machine_readable: Annotated[
        bool, typer.Option("--machine-readable", "-m", help="Write lines as `cvmfs_server diff -m` does.")
    ] = False,
    key: MasterKeys = None,
    as_json: AsJson = False,
) -> None:
    """Show what was added, modified and removed between two revisions; ends with 0 whether or not there is something.

    Only catalogs that differ are read.
    """
    from functions.cvmfs.difference import TreeComparison  # noqa: PLC0415

    if (old and source) or (new and destination):
        raise typer.BadParameter("name each revision once", param_hint="--from, --to")
    repository = open_repository(location, key)
    revisions = (
        _found(repository, old or source or "trunk-previous"),
        _found(repository, new or destination or "trunk"),
    )
    views = [repository.snapshot_of(revision.root).view for revision in revisions]
    if path and all(view.lookup(path) is None for view in views):
        raise PathUnknown(f"There is no {path} in either revision.")
    before, after = (view.open_root().total_counters for view in views)
    delta = None if path else after - before
    changes = changes_of(TreeComparison(views[0], views[1], top=path), ignore_timediff=ignore_timediff)
    if as_json:
        write_as_json(revisions, changes, delta, signatures_checked=bool(key))
    elif machine_readable:
        write_for_machines(changes, delta, header=header)
    else:
        write_for_people(revisions, changes, delta, catalogs=catalogs, header=header)


def _found(repository: Repository, text: str) -> Revision:
    from functions.cvmfs.errors import RevisionMissing  # noqa: PLC0415
    from functions.cvmfs.revisions import find_revision  # noqa: PLC0415

    try:
        return find_revision(repository, text)
    except RevisionMissing as err:
        message = str(err)
        raise RevisionUnknown(f"{message[:1].upper()}{message[1:]}.") from err
