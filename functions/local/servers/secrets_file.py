"""Secrets of a local server, in a file that only its owner can read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from functions.local.servers.errors import LocalServerError


def read_secrets(path: Path) -> dict[str, SecretStr] | None:
    """The secrets by name; None if there is no file. Raises LocalServerError if it is damaged."""
    try:
        secrets = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        secrets = None
    if not isinstance(secrets, dict) or not all(isinstance(secret, str) for secret in secrets.values()):
        raise LocalServerError(f"{path} is damaged.", next_step=f"Remove {path.parent} with everything in it.")
    return {name: SecretStr(secret) for name, secret in secrets.items()}


def write_secrets(path: Path, secrets: Mapping[str, SecretStr]) -> None:
    """Write the secrets with mode 0600; the file appears complete or not at all."""
    text = json.dumps({name: secret.get_secret_value() for name, secret in secrets.items()}, indent=1) + "\n"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)
