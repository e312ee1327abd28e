"""What the bench says twice: its manual beside its modules, JavaScript beside Python."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from hpcbench import content, run_folder
from hpcbench.described import names
from hpcbench.target import Target

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


def test_k6_makes_contents_with_the_numbers_that_python_has() -> None:
    script = (BENCH / "hpcbench" / "k6" / "user.js").read_text()
    numbers = dict(re.findall(r"const ([A-Z_]+) = (\d+);", script))
    assert numbers == {"HEADER_BYTES": str(content.HEADER_BYTES), "STRIDE": str(content.STRIDE)}


def test_the_manual_names_every_scenario_and_no_site_that_is_not_there() -> None:
    manual = (BENCH / "README.md").read_text()

    def rows(head: str) -> set[str]:
        table = manual.partition(f"| {head} |")[2].partition("\n\n")[0]
        return set(re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE))

    assert rows("scenario | what happens") == set(names(BENCH / "scenarios"))
    sites = rows("site | tasks run as | service")
    assert sites
    assert sites <= set(names(BENCH / "sites"))  # people add their own


def test_the_target_in_the_manual_can_be_read_and_has_every_field(tmp_path: Path) -> None:
    manual = (BENCH / "README.md").read_text()
    (example,) = re.findall(r"```json\n(.*?)```", manual, re.DOTALL)
    (tmp_path / "target.json").write_text(example)
    target = Target.read(tmp_path / "target.json")
    of_a_stack = {"local_pid", "slurm_conf"}
    fields = {field.name for field in dataclasses.fields(Target)} - of_a_stack
    assert all(getattr(target, name) for name in fields)
    _, _, explained = manual.partition("| field | what it is")
    assert all(f"`{name}`" in explained.partition("\n\n")[0] for name in fields)
