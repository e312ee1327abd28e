"""The keys of both repositories as Vault has them."""

from __future__ import annotations

import hvac

from functions.local.demo.cast import Cast
from functions.local.demo.errors import DemoFailed
from functions.local.demo.telling import Teller

FIELDS = {"publicKey", "certificateKey", "gatewayKey"}


def show_keys(cast: Cast, teller: Teller) -> str:
    """Show what is stored, secrets covered up; returns the public key of the user's repository. Raises DemoFailed."""
    teller.heading("The keys are in Vault, at INFN's paths and fields; private keys never leave the transit engine")
    public_key = _stored(f"{cast.subject}/cvmfs_keys/{cast.fqrn}", cast, teller)["publicKey"]
    _stored(f"groups/{cast.team}/cvmfs_keys/{cast.team_fqrn}", cast, teller)
    endpoints = cast.stack.vault.endpoints
    vault = hvac.Client(endpoints.address, endpoints.root_token.get_secret_value())
    for role in ("master", "signing"):
        key = vault.secrets.transit.read_key(f"{cast.fqrn}-{role}")["data"]
        teller.say(f"  transit/{cast.fqrn}-{role}: {key['type']}, exportable: {'yes' if key['exportable'] else 'no'}")
        if key["exportable"]:
            raise DemoFailed("a private key can be exported")
    return public_key


def _stored(path: str, cast: Cast, teller: Teller) -> dict[str, str]:
    fields = cast.stack.vault_secret(path)
    teller.say(f"  secrets/{path}")
    teller.pairs((name, _shown(name, value)) for name, value in sorted(fields.items()))
    if set(fields) != FIELDS:
        raise DemoFailed(f"secrets/{path} has the fields {sorted(fields)}")
    return fields


def _shown(name: str, value: str) -> str:
    first = value.splitlines()[0]
    return f"{first.rsplit(' ', 1)[0]} ***" if name == "gatewayKey" else f"{first} ({len(value)} bytes)"
