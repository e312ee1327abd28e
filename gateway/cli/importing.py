"""Taking over repositories of the official tools, and what a server says of all that it has."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated

import typer

from gateway.cli.opened import open_live, open_publisher
from gateway.cli.options import AsJson, Fqrn, Keys, Storage
from gateway.cli.output import counted, say, shown_size, status_line, write_json, write_line

COPY_THREADS = 16


def import_repository(
    fqrn: Fqrn,
    *,
    storage: Storage,
    keys: Keys,
    recreate_whitelist: Annotated[
        bool, typer.Option("--recreate-whitelist", "-r", help="Make the whitelist anew, with the master key.")
    ] = False,
    recreate_reflog: Annotated[
        bool, typer.Option("--recreate-reflog", help="Make a reflog that cannot be read anew.")
    ] = False,
    replicable: Annotated[bool, typer.Option("--replicable", "-m", help="Let replicas take it.")] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="URL|PATH", help="Copy it from there first: the newest and all tagged revisions."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Verify a repository that the official tools made, with its keys, and make it ready to be published to.

    A missing reflog is made, and its checksum signed where it is stale; there is no new revision.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.certificate import Certificate  # noqa: PLC0415
    from functions.publishing import importing  # noqa: PLC0415

    wanted = importing.Import(recreate_whitelist, recreate_reflog, replicable)
    if source is not None:
        _copy(source, storage, fqrn, wiring.open_keys(keys).public_keys(fqrn).public_key)
    with open_publisher(storage, keys, fqrn, check_key=False) as publisher:
        public = wiring.open_keys(keys).public_keys(fqrn)
        certificate = Certificate.from_pem(public.certificate.encode())
        outcome = importing.import_repository(publisher, public.public_key, certificate, wanted)
    manifest = outcome.manifest
    if as_json:
        write_json(
            {
                "repository": fqrn,
                "revision": manifest.revision,
                "root_hash": str(manifest.root),
                "hash": manifest.root.algorithm.value,
                "tags": outcome.tags,
                "whitelist_valid_until": outcome.whitelist.valid_until.isoformat(),
                "repairs": list(outcome.repairs),
            }
        )
        return
    write_line(
        f"{fqrn} can be published to: revision {manifest.revision}, {counted(outcome.tags, 'tag')}, "
        f"{manifest.root.algorithm.value}, whitelist valid until {outcome.whitelist.valid_until:%Y-%m-%d %H:%M} UTC."
    )
    for repair in outcome.repairs:
        write_line(f"Repaired: {repair}.")
    say(f"Next: cvmfs-cloud repo publish {fqrn} --from TREE --storage {storage} --keys {keys}")


def _copy(source: str, storage: str, fqrn: str, public_key: str) -> None:
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.copying import Copied, copy_repository  # noqa: PLC0415

    def in_words(copied: Copied) -> str:
        return (
            f"{counted(copied.objects, 'object')}, {counted(copied.catalogs, 'catalog')} among them, "
            f"{shown_size(copied.bytes)}"
        )

    with ThreadPoolExecutor(COPY_THREADS) as executor, status_line("copying") as show:
        _, copied = copy_repository(
            wiring.open_fetch(source)[0],
            wiring.open_storage(storage),
            executor,
            public_keys=[public_key],
            fqrn=fqrn,
            now=wiring.utc_now(),
            progress=lambda copied: show(f"copying: {in_words(copied)}"),
        )
    say(f"Copied {in_words(copied)}.")


def update_info(
    *,
    storage: Storage,
    remove: Annotated[bool, typer.Option("--remove", help="Take the repository out.")] = False,
    fqrn: Annotated[
        str | None, typer.Option("--fqrn", metavar="FQRN", help="Its name, where nothing is stored any more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Enter a repository into info/v1/repositories.json, in the folder or bucket above its storage.

    meta.json beside it is made as a template where there is none.
    """
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.server_info import REPOSITORIES_PATH, delist, enlist  # noqa: PLC0415

    name = fqrn if remove and fqrn is not None else open_live(storage, fqrn)[1].fqrn
    server = wiring.open_server(storage, name)
    members = delist(server, name) if remove else enlist(server, name)
    if as_json:
        write_json(members)
    else:
        write_line(f"{REPOSITORIES_PATH} lists {counted(len(members['repositories']), 'repository', 'repositories')}.")
