"""What the bench says twice: its map beside its modules, names of files in JavaScript beside those in Python."""

from __future__ import annotations

import re
from pathlib import Path

from hpcbench import run_folder

BENCH = Path(__file__).parents[2] / "hpc-bench"


def test_the_map_names_every_module_and_no_other() -> None:
    _, _, after = (BENCH / "README.md").read_text().partition("### The code\n")
    rows = [line for line in after.partition("\n### ")[0].splitlines() if line.startswith("| `")]
    named = re.findall(r"`([\w/]+\.py)`", " ".join(row.split("|")[1] for row in rows))
    package = BENCH / "hpcbench"
    there = {str(path.relative_to(package)) for path in package.rglob("*.py")}
    assert len(named) == len(set(named))
    assert set(named) == {name for name in there if not name.endswith("__init__.py")}


def test_k6_finds_the_files_of_a_run_under_the_names_that_python_gives_them() -> None:
    script = (BENCH / "hpcbench" / "k6" / "user.js").read_text()
    used = set(re.findall(r"\$\{__ENV\.RUN\}/([\w.-]+)", script))
    assert used == {run_folder.OPERATIONS_FOLDER, run_folder.BASE_FILE, run_folder.K6_FOLDER}
