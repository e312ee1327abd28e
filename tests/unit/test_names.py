"""Our import names are common words: another distribution with one of them would shadow ours, or be shadowed."""

from __future__ import annotations

from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["events", "functions", "gateway"])
def test_no_other_distribution_provides_our_import_name(name):
    assert set(packages_distributions().get(name, [])) <= {"cvmfs-cloud"}


@pytest.mark.parametrize("name", ["events", "functions", "gateway"])
def test_the_import_name_is_the_folder_of_this_checkout(name):
    assert Path(find_spec(name).origin) == ROOT / name / "__init__.py"
