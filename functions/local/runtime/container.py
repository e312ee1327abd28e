"""What the image and the manifest make of an instance: its command line and its environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pydantic import SecretStr

import functions
from functions.local.runtime.errors import ManifestError
from functions.local.runtime.manifests import Reference, Service

SettingsByName: TypeAlias = Mapping[str, Mapping[str, str | SecretStr]]
"""The content of ConfigMaps and Secrets by name; a ConfigMap and a Secret of one name are one mapping."""


@dataclass(frozen=True, slots=True)
class Image:
    """What every instance finds around it, as if it came with the container image.

    `programs` is where commands are looked up, `packages` is where the functions are imported from, `function_source`
    is the file functions-framework loads.
    """

    programs: Path
    packages: Path
    function_source: Path

    @classmethod
    def of_this_process(cls, function_source: Path | None = None) -> Image:
        """The interpreter that runs this, and the functions package it has imported."""
        package = Path(functions.__file__).parent
        return cls(
            programs=Path(sys.executable).parent,
            packages=package.parent,
            function_source=function_source or package / "main.py",
        )

    def environment(self, scratch: Path) -> dict[str, str]:
        """The variables of the image; nothing of the caller's environment passes."""
        return {
            "PATH": f"{self.programs}:/usr/local/bin:/usr/bin:/bin",
            "PYTHONPATH": str(self.packages),
            "PYTHONUNBUFFERED": "1",
            "FUNCTION_SOURCE": str(self.function_source),
            "HOST": "127.0.0.1",
            "HOME": str(scratch),
            "TMPDIR": str(scratch),
            "LANG": "C.UTF-8",
        }


def command_line(service: Service, image: Image) -> Sequence[str]:
    """The program with its arguments; raises ManifestError if the manifest names none or it is not installed."""
    if not service.command:
        raise ManifestError(f"Service {service.name}: the container names no command")
    program, *arguments = service.command
    found = shutil.which(program, path=os.pathsep.join([str(image.programs), "/usr/local/bin", "/usr/bin", "/bin"]))
    if found is None:
        raise ManifestError(f"Service {service.name}: there is no program {program}")
    return [found, *arguments, *service.args]


def container_environment(service: Service, settings: SettingsByName) -> dict[str, str]:
    """The variables of the manifest: ``envFrom`` in order, then ``env``, the later ones win.

    Raises ManifestError that names every ConfigMap, Secret and key that `settings` lacks and that is not optional.
    """
    missing: list[str] = []
    environment = {
        **dict(_from_sources(service, settings, missing)),
        **dict(_from_variables(service, settings, missing)),
    }
    if missing:
        raise ManifestError(f"Service {service.name} needs {', '.join(dict.fromkeys(missing))}")
    return environment


def _from_sources(service: Service, settings: SettingsByName, missing: list[str]) -> Iterator[tuple[str, str]]:
    for source in service.variable_sources:
        for reference in (source.config_map, source.secret):
            if reference is None:
                continue
            if reference.name in settings:
                for key, value in settings[reference.name].items():
                    yield source.prefix + key, _plain(value)
            elif not reference.optional:
                missing.append(reference.name)


def _from_variables(service: Service, settings: SettingsByName, missing: list[str]) -> Iterator[tuple[str, str]]:
    for variable in service.variables:
        reference: Reference | None = variable.config_map_key or variable.secret_key
        if reference is None:
            yield variable.name, variable.value
        elif reference.key in settings.get(reference.name, {}):
            yield variable.name, _plain(settings[reference.name][reference.key])
        elif not reference.optional:
            missing.append(f"{reference.name}/{reference.key}")


def _plain(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
