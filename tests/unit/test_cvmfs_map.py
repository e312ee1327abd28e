"""The map in the package docstring is the library as it is."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import functions.cvmfs

FOLDER = Path(functions.cvmfs.__file__).parent


def mapped() -> dict[str, list[str]]:
    table = functions.cvmfs.__doc__.split("=\n")[2]
    lines = (re.fullmatch(r"(\w+) +(.+)", line) for line in table.splitlines())
    return {line[1]: line[2].partition(":")[0].split(", ") for line in lines if line}


def test_every_module_is_on_the_map() -> None:
    modules = {file.stem for file in FOLDER.glob("*.py")} - {"__init__"}
    assert set(mapped()) == modules


def test_every_name_on_the_map_exists() -> None:
    for module, names in mapped().items():
        for name in names:
            word = name.partition(" ")[0]
            assert hasattr(importlib.import_module(f"functions.cvmfs.{module}"), word), f"{module}.{word}"


def test_the_readme_names_only_modules_that_exist() -> None:
    named = re.findall(r"`(\w+)\.py`", (FOLDER / "README.md").read_text())
    assert named
    for module in named:
        assert (FOLDER / f"{module}.py").is_file(), module
