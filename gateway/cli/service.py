"""Where the running service is: in the environment, as its own processes have it, or in the file of a local stack."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from functions.errors import Permanent


class NoService(Permanent):
    """Nobody said where the service is."""

    code = "no-service"

    def __init__(self, folder: Path, other_way: str) -> None:
        super().__init__(f"No stack runs in {folder}, and nothing else says where the service is.")
        self.other_way = other_way

    def explained(self) -> str:
        """The message, and the ways to say it."""
        return f"{self} Start one with `cvmfs-cloud stack up`, name its folder with --folder, or {self.other_way}."


SOURCE = "/cvmfs-cloud/cli"
"""The CloudEvents `source` of what the command line asks the service for."""


def stack_file(folder: Path) -> dict[str, object]:
    """What a running stack says of itself (``functions.local.stack_file.StackFile``); empty without one."""
    try:
        content = json.loads((folder / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def stack_settings(folder: Path) -> Mapping[str, str] | None:
    """The settings of the stack that runs in a folder; None without one."""
    settings = stack_file(folder).get("settings")
    return settings if isinstance(settings, dict) else None


def service_settings(needed: str, folder: Path) -> Mapping[str, str]:
    """The settings of the service: the environment if it has the one that is `needed`, else the local stack's.

    Raises NoService.
    """
    if os.environ.get(needed):
        return os.environ
    settings = stack_settings(folder)
    if settings is None:
        raise NoService(folder, f"set {needed} in the environment")
    return settings


def setting_of(settings: Mapping[str, str], name: str) -> str:
    """A setting with its default, by its name in ``functions.settings``; for where the others may be missing."""
    from functions.settings import Settings  # noqa: PLC0415

    return settings.get(name.upper()) or str(Settings.model_fields[name].default)


def repository_address(url: str | None, folder: Path, fqrn: str) -> str:
    """Where a repository is published: below `url`, else where the local stack has them; raises NoService."""
    base = url or stack_file(folder).get("repository_url")
    if not isinstance(base, str):
        raise NoService(folder, "say with --url where repositories are")
    return _below(base, fqrn)


def publisher_settings(address: str, folder: Path, fqrn: str) -> Mapping[str, str] | None:
    """The settings of the local stack, if it is the one that publishes a repository at `address`; else None."""
    base = stack_file(folder).get("repository_url")
    return stack_settings(folder) if isinstance(base, str) and address == _below(base, fqrn) else None


def _below(base: str, fqrn: str) -> str:
    return f"{base.rstrip('/')}/{fqrn}"
