"""What each function may do in Vault: one policy per function, with the smallest rights that let it work.

Keys of a repository live in the transit engine as ``<fqrn>-master`` (signs the whitelist) and ``<fqrn>-signing`` (signs
the manifest); certificate, public key and gateway key live in KV version 2. A ``+`` in a policy path is exactly one
whole segment, so a policy cannot tell the two kinds of keys apart by their names. It tells them apart by their use: a
whitelist signature is the bare PKCS#1 form, which takes ``hash_algorithm=none``, and a manifest's is SHA-1. Who may
ask for SHA-1 only can sign no whitelist, whichever key it names.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Function = Literal[
    "store-keys",
    "create-repository",
    "publish-transaction",
    "handle-bucket-notification",
    "edit-repository",
    "delete-repository",
    "resign-whitelist",
    "collect-garbage",
    "reconcile-bucket",
    "gateway",
]

FUNCTIONS: Final[tuple[Function, ...]] = get_args(Function)
KV_MOUNT: Final = "secrets"
TRANSIT_MOUNT: Final = "transit"

_PERSONAL_KEYS = f"{KV_MOUNT}/data/+/cvmfs_keys/+"
_GROUP_KEYS = f"{KV_MOUNT}/data/groups/+/cvmfs_keys/+"
_TRANSIT_KEYS = f"{TRANSIT_MOUNT}/keys/+"
_SIGN = f"{TRANSIT_MOUNT}/sign/+"


def policy_of(function: Function) -> str:
    """The policy document of a function, in Vault's own language; empty for one that needs no keys."""
    return "\n".join(_RULES.get(function, ()))


def _may(capabilities: str, path: str) -> str:
    quoted = ", ".join(f'"{capability}"' for capability in capabilities.split())
    return f'path "{path}" {{\n  capabilities = [{quoted}]\n}}'


def _may_sign(*algorithms: str) -> str:
    """Leave to sign by these hash algorithms only, always as PKCS#1 v1.5; other parameters are refused."""
    quoted = ", ".join(f'"{algorithm}"' for algorithm in algorithms)
    return (
        f'path "{_SIGN}" {{\n'
        '  capabilities = ["update"]\n'
        '  required_parameters = ["hash_algorithm", "signature_algorithm"]\n'
        "  allowed_parameters = {\n"
        f'    "hash_algorithm" = [{quoted}]\n'
        '    "signature_algorithm" = ["pkcs1v15"]\n'
        '    "input" = []\n'
        '    "prehashed" = []\n'
        "  }\n"
        "}"
    )


_RULES: dict[Function, tuple[str, ...]] = {
    "store-keys": (
        _may("create read update", _TRANSIT_KEYS),
        _may("create read update", _PERSONAL_KEYS),
        _may("create read update", _GROUP_KEYS),
        _may_sign("sha2-256"),
    ),
    "create-repository": (
        _may("read", _PERSONAL_KEYS),
        _may("read", _GROUP_KEYS),
        _may_sign("none", "sha1"),
    ),
    "publish-transaction": (_may_sign("sha1"),),
    "edit-repository": (_may_sign("sha1"),),
    "collect-garbage": (_may_sign("sha1"),),
    "resign-whitelist": (
        _may("read", _PERSONAL_KEYS),
        _may("read", _GROUP_KEYS),
        _may_sign("none"),
    ),
    "delete-repository": (
        # Transit tells whether a key is there, and deletes one only when its configuration allows it.
        _may("read delete", _TRANSIT_KEYS),
        _may("create update", f"{_TRANSIT_KEYS}/config"),
        _may("delete", f"{KV_MOUNT}/metadata/+/cvmfs_keys/+"),
        _may("delete", f"{KV_MOUNT}/metadata/groups/+/cvmfs_keys/+"),
    ),
}
