"""What was uploaded against what a worker node sees."""

from __future__ import annotations

from collections.abc import Mapping

from functions.cvmfs.entry import parent_path
from functions.local.demo.material import Expected


def differences(expected: Mapping[str, Expected], found: Mapping[str, Expected]) -> list[str]:
    """Every path that is missing, too much or different; directories that only hold something are expected too."""
    faults = [f"{path} is missing" for path in sorted(expected.keys() - found.keys())]
    implied = {""}
    for path in expected:
        while path:
            path = parent_path(path)  # noqa: PLW2901 - climbing
            implied.add(path)
    faults += [f"{path} should not be there" for path in sorted(found.keys() - expected.keys() - implied)]
    for path in sorted(expected.keys() & found.keys()):
        if expected[path] != found[path]:
            faults.append(f"{path}: expected {expected[path]}, found {found[path]}")
    return faults
