"""The documents that newcomers follow are held to the code."""

import re
from pathlib import Path

import pytest

from functions import main
from functions.settings import Settings

TOP = Path(__file__).parents[2]
TARGETS = {
    "store_keys",
    "create_repository",
    "handle_bucket_notification",
    "publish_transaction",
    "edit_repository",
    "delete_repository",
    "resign_whitelist",
    "collect_garbage",
    "reconcile_bucket",
}


def test_both_function_tables_name_exactly_the_targets_of_the_process():
    assert all(callable(getattr(main, target)) for target in TARGETS)
    for page in ("README.md", "functions/README.md"):
        rows = re.findall(r"^\| `(\w+)` \|", (TOP / page).read_text(), re.MULTILINE)
        assert set(rows) == TARGETS, page


def test_there_is_one_module_per_function():
    modules = {path.stem for path in (TOP / "functions/handlers").glob("*.py")}
    assert modules >= TARGETS


def test_the_makefile_has_every_target_that_the_readme_names():
    named = set(re.findall(r"`make (\w+)`|\$ make (\w+)", (TOP / "README.md").read_text()))
    targets = set(re.findall(r"^(\w+):", (TOP / "Makefile").read_text(), re.MULTILINE))
    assert {name for pair in named for name in pair if name} <= targets


def test_settings_without_a_default_are_named():
    text = (TOP / "functions/README.md").read_text()
    needed = [name.upper() for name, field in Settings.model_fields.items() if field.is_required()]
    assert [name for name in needed if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", sorted(TOP.rglob("README.md")), ids=lambda page: str(page.relative_to(TOP)))
def test_links_between_documents_lead_somewhere(page):
    if {".venv", ".pytest_cache"} & set(page.parts):
        return
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page} links to {target}"
