"""Signing again: whitelists before they end, manifests, and another signing key."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.opened import confirm, open_live, open_publisher
from gateway.cli.options import AsJson, CheckedName, Force, Keys, Storage
from gateway.cli.output import say, write_json, write_line

if TYPE_CHECKING:
    from functions.cvmfs.manifest import Manifest
    from functions.cvmfs.whitelist import Whitelist

USUAL_DAYS = 30
"""Above this a stolen signing key is trusted for too long (``cvmfs_server_resign.sh``)."""


def resign(
    *,
    storage: Storage,
    keys: Keys,
    fqrn: CheckedName = None,
    days: Annotated[int, typer.Option("--days", "-d", metavar="DAYS", min=1, help="How long it is valid.")] = 30,
    manifest: Annotated[
        bool, typer.Option("--manifest", "-p", help="Sign .cvmfspublished, with the certificate beside the keys.")
    ] = False,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Replace the signing key and its certificate, then sign both files.")
    ] = False,
    new_certificate: Annotated[
        bool, typer.Option("--new-certificate", help="The same with a new certificate for the present key.")
    ] = False,
    only_current: Annotated[
        bool, typer.Option("--only-current", help="List no certificate but the one beside the keys.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make the whitelist without looking at the present one.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Sign the whitelist again; it is valid until the start of the hour in which it ends.

    Certificates that the present whitelist lists stay, if the master key signed it.
    """
    if manifest + new_key + new_certificate > 1:
        raise typer.BadParameter("one of --manifest, --new-key and --new-certificate at a time")
    if manifest and (days != USUAL_DAYS or only_current or fresh):
        raise typer.BadParameter("--days, --only-current and --fresh are about the whitelist", param_hint="--manifest")
    if days > USUAL_DAYS:
        say(f"A whitelist of more than {USUAL_DAYS} days lets a stolen signing key be used for longer.")
        confirm("Sign it nevertheless?", force=force)
    if manifest:
        _show(_sign_manifest(storage, keys, fqrn), None, as_json=as_json)
    elif new_key or new_certificate:
        _show(*_replace_key(storage, keys, fqrn, days, same_key=new_certificate), as_json=as_json)
    else:
        _show(*_renew(storage, keys, fqrn, days, only_current=only_current, fresh=fresh), as_json=as_json)


def _renew(
    storage: str, keys: Path, fqrn: str | None, days: int, *, only_current: bool, fresh: bool
) -> tuple[Manifest, Whitelist]:
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.certificate import Certificate  # noqa: PLC0415
    from functions.publishing.resigning import Renewal, renew_whitelist  # noqa: PLC0415

    store, manifest = open_live(storage, fqrn)
    key_files = wiring.open_keys(keys)
    public = key_files.public_keys(manifest.fqrn)
    renewal = Renewal(
        (Certificate.from_pem(public.certificate.encode()),), days=days, only_these=only_current, fresh=fresh
    )
    signer = key_files.signer(manifest.fqrn)
    return manifest, renew_whitelist(store, signer, [public.public_key], renewal, now=wiring.utc_now())


def _sign_manifest(storage: str, keys: Path, fqrn: str | None) -> Manifest:
    from functions import wiring  # noqa: PLC0415
    from functions.cvmfs.certificate import Certificate  # noqa: PLC0415
    from functions.publishing.resigning import resign_manifest  # noqa: PLC0415

    with open_publisher(storage, keys, fqrn, check_key=False) as publisher:
        public = wiring.open_keys(keys).public_keys(publisher.fqrn)
        return resign_manifest(publisher, Certificate.from_pem(public.certificate.encode())).manifest


def _replace_key(
    storage: str, keys: Path, fqrn: str | None, days: int, *, same_key: bool
) -> tuple[Manifest, Whitelist]:
    """Whitelist, manifest, key files: repeating it goes on where it broke off."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.resigning import Renewal, renew_whitelist, resign_manifest  # noqa: PLC0415

    with open_publisher(storage, keys, fqrn, check_key=False) as publisher:
        key_files = wiring.open_keys(keys)
        public = key_files.public_keys(publisher.fqrn)
        following = key_files.draft_replacement(publisher.fqrn, same_key=same_key, now=wiring.utc_now())
        whitelist = renew_whitelist(
            publisher.store,
            publisher.signer,
            [public.public_key],
            Renewal((following.certificate,), days=days),
            now=wiring.utc_now(),
        )
        manifest = resign_manifest(replace(publisher, signer=following.signer), following.certificate).manifest
        key_files.adopt_replacement(publisher.fqrn)
    say("Caches may have the old manifest for some minutes: drop the old certificate later, with --only-current.")
    return manifest, whitelist


def _show(manifest: Manifest, whitelist: Whitelist | None, *, as_json: bool) -> None:
    from functions.cvmfs.whitelist import render_fingerprint  # noqa: PLC0415

    if as_json:
        members: dict[str, object] = {
            "repository": manifest.fqrn,
            "revision": manifest.revision,
            "certificate": str(manifest.certificate),
        }
        if whitelist is not None:
            members["valid_until"] = whitelist.valid_until.isoformat()
            members["fingerprints"] = [render_fingerprint(listed) for listed in whitelist.fingerprints]
        write_json(members)
        return
    if whitelist is None:
        write_line(f"Signed the manifest of {manifest.fqrn}, revision {manifest.revision}.")
        return
    write_line(f"Signed the whitelist of {manifest.fqrn}, valid until {whitelist.valid_until:%Y-%m-%d %H:%M} UTC.")
    for listed in whitelist.fingerprints:
        write_line(f"  {render_fingerprint(listed)}")
