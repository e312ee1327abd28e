"""Scenarios, sites, and the plans that are made of them."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from hpcbench.content import HEADER_BYTES, archive, base_text, content, members
from hpcbench.described import names
from hpcbench.errors import BenchError
from hpcbench.outlook import outlook
from hpcbench.plan import Operation, Plan
from hpcbench.plan_files import read_lanes, read_plan, write_plan
from hpcbench.planning import decide, operations
from hpcbench.scenario import load_scenario
from hpcbench.sites import load_site
from hpcbench.slurm import submit
from hpcbench.tasks.by_k6 import executor

BENCH = Path(__file__).parents[2] / "hpc-bench"
SCENARIOS = names(BENCH / "scenarios")


def planned(folder: Path, scenario: str, scale: float, users: int = 3) -> Plan:
    wanted = load_scenario(BENCH / "scenarios" / f"{scenario}.toml", scale=scale)
    plan = decide(wanted, domain="infn.it", users=users, prefix="b")
    write_plan(folder, plan)
    return plan


def everything(folder: Path, plan: Plan) -> list[Operation]:
    tasks = [task for task in plan.tasks if task.wave]
    return [each for task in tasks for lane in read_lanes(folder, task) for each in lane]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_plan_numbers_every_operation_once_and_can_be_read_again(tmp_path: Path, name: str) -> None:
    plan = planned(tmp_path, name, 0.01)
    assert read_plan(tmp_path) == plan
    assert list(operations(plan)) == everything(tmp_path, plan)
    numbers = [operation.number for operation in everything(tmp_path, plan)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    assert [task.index for task in plan.tasks] == list(range(len(plan.tasks)))
    assert plan.waves[0][0].action == "request"
    assert all(operation.size >= HEADER_BYTES for operation in everything(tmp_path, plan))


def test_the_same_scenario_makes_the_same_plan(tmp_path: Path) -> None:
    one, two = (planned(tmp_path / name, "churn", 0.05) for name in "ab")
    assert everything(tmp_path / "a", one) == everything(tmp_path / "b", two)


def test_what_happens_to_one_object_happens_in_one_lane_and_in_order(tmp_path: Path) -> None:
    plan = planned(tmp_path, "churn", 0.1)
    places = defaultdict(set)
    numbers = defaultdict(list)
    storm = [task for task in plan.tasks if task.load == "storm"]
    for task in storm:
        for lane_number, lane in enumerate(read_lanes(tmp_path, task)):
            for operation in lane:
                places[operation.bucket, operation.key].add((task.index, lane_number))
                numbers[operation.bucket, operation.key].append(operation.number)
    assert all(len(each) == 1 for each in places.values())
    assert all(each == sorted(each) for each in numbers.values())
    assert any(len(each) > 1 for each in numbers.values())
    first = {min(each) for each in numbers.values()}
    kinds = {operation.number: operation.kind for operation in everything(tmp_path, plan)}
    assert {kinds[number] for number in first} == {"put"}
    assert set(kinds.values()) == {"put", "delete"}


def test_a_later_load_changes_the_keys_of_the_earlier(tmp_path: Path) -> None:
    plan = planned(tmp_path, "nightly-build", 0.002)
    by_load = defaultdict(set)
    for task in plan.tasks:
        if task.wave:
            by_load[task.load] |= {(each.bucket, each.key) for lane in read_lanes(tmp_path, task) for each in lane}
    assert by_load["tree"] == by_load["replacement"]
    assert [task.wave for task in plan.tasks] == [0, 1, 1, 2, 2]


def test_repositories_and_their_files_are_spread_evenly(tmp_path: Path) -> None:
    plan = planned(tmp_path, "burst-1000", 0.05)
    per_bucket = defaultdict(int)
    for operation in everything(tmp_path, plan):
        per_bucket[operation.bucket] += 1
    assert len(plan.repositories) == 50
    assert set(per_bucket.values()) == {5}
    assert {repository.user for repository in plan.repositories} == {0, 1, 2}


def test_a_load_without_a_rate_gives_each_k6_user_a_lane_and_one_with_a_rate_does_not(tmp_path: Path) -> None:
    plan = planned(tmp_path, "burst-1000", 1)
    users = plan.tasks[-1]
    lanes = len(read_lanes(tmp_path, users))
    assert executor(users, lanes) == {
        "executor": "per-vu-iterations",
        "vus": 100,
        "iterations": 1,
        "maxDuration": "24h",
    }
    ramp = planned(tmp_path / "ramp", "ramp", 1).tasks[-1]
    made = executor(ramp, 1)
    assert made["startRate"] == 150  # 2.5 a second, in minutes
    assert made["stages"] == [{"target": 150, "duration": "20s"}, {"target": 9000, "duration": "240s"}]
    assert sum(task.operations for task in read_plan(tmp_path / "ramp").tasks if task.wave) == pytest.approx(
        36_700, abs=2
    )


def test_the_outlook_says_what_a_plan_comes_to(tmp_path: Path) -> None:
    plan = planned(tmp_path, "smoke", 1)
    done = everything(tmp_path, plan)
    lines = list(outlook(plan))
    rows = {line.split()[1]: line.split() for line in lines[2:] if line[:4].strip().isdecimal()}
    assert list(rows) == ["request", "put", "parts", "archives", "churn", "overwrite", "readers", "delete"]
    assert rows["put"][2:] == ["put", "2", "60", "227.7", "kB", "16", "at", "once"]
    assert rows["archives"][4:7] == ["3", "240.0", "kB"]  # 40 members of 2,000 bytes each
    assert rows["delete"][3:] == ["1", "15", "8", "at", "once"]  # nothing is uploaded
    assert rows["readers"][4:] == ["0", "2", "at", "once", "for", "4", "s"]
    deleted = sum(each.kind == "delete" for each in done)
    together = "\n".join(lines)
    assert f"3 archive, {deleted} delete, 2 multipart, " in together
    last = {(each.bucket, each.key): each.kind for each in sorted(done)}
    assert f"in the end {sum(kind != 'delete' for kind in last.values())} objects are there" in together
    assert "9 in 4 waves, at most 5 at once" in together
    assert "4 s at least, then 60 s at most" in together


def test_the_outlook_adds_up_what_tasks_of_one_load_do(tmp_path: Path) -> None:
    lines = list(outlook(planned(tmp_path, "ramp", 1)))
    assert lines[3].endswith("5/s for 20 s then 300/s for 240 s")
    assert "260 s at least" in lines[-1]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("repositories = ", "Invalid value"),
        ("colour = 1", "colour: Unexpected"),
        ('repositories = "many"', "repositories: Input should be a valid integer"),
        ('[[load]]\nname = "a"\naction = "put"\nrate = [[1]]', r"rate\.0\.1: Field required"),
        ('[[load]]\nname = "a"\naction = "sing"', "no such action"),
        ('[[load]]\nname = "a"\naction = "put"\nafter = "b"', "there is no load 'b'"),
        ('[[load]]\nname = "a"\naction = "put"\nafter = "a"', "wait for each other"),
        ('[[load]]\nname = "a"\naction = "put"\n[[load]]\nname = "a"\naction = "put"', "one name"),
        ('[[load]]\nname = "a"\naction = "churn"\nrate = [[1, 1]]', "order of each key"),
        ('[[load]]\nname = "a"\naction = "put"\n[[load]]\nname = "b"\naction = "delete"\nof = "a"', "must come after"),
        ("scale = 0", "scale is 0"),
    ],
)
def test_a_faulty_scenario_says_what_is_wrong(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text if text.startswith("[") else f'title = "x"\n{text}\n')
    if text.startswith("["):
        path.write_text(f'title = "x"\n{text}\n')
    with pytest.raises(BenchError, match=fault):
        load_scenario(path)


def test_a_missing_scenario_names_those_there_are() -> None:
    with pytest.raises(BenchError) as caught:
        load_scenario(BENCH / "scenarios" / "nothing.toml")
    assert "burst-1000" in caught.value.hint


@pytest.mark.parametrize("name", names(BENCH / "sites"))
def test_sites_can_be_read(name: str) -> None:
    assert load_site(BENCH / "sites" / f"{name}.toml").title


def test_a_faulty_site_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('title = "x"\n[slurm]\npartitions = "y"\n')
    with pytest.raises(BenchError, match=r"slurm\.partitions: Unexpected"):
        load_site(tmp_path / "s.toml")


def test_content_is_told_by_its_number_and_has_its_size() -> None:
    base = base_text(1)
    assert base == base_text(1)
    assert base.isascii()
    for size in (16, 17, 5_000, len(base) + 5_000, 3 * len(base)):
        assert len(content(7, size, base)) == size
    assert content(7, 100, base) != content(8, 100, base)
    packed = archive(7, 30, 500, base)
    assert packed == archive(7, 30, 500, base)
    assert len(set(members(7, 30, 500, base).values())) == 30


def test_tasks_need_nothing_but_the_standard_library() -> None:
    program = f"import sys; sys.path.insert(0, {str(BENCH)!r}); import hpcbench.tasks.__main__"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_waves_become_job_arrays_that_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, "nightly-build", 0.001)
    said = tmp_path / "said"
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/sh\necho "$@" >> {said}\necho "$(wc -l < {said});cluster"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(sbatch.parent), prepend=":")
    site = load_site(BENCH / "sites" / "hpc-bubble.toml")
    jobs = list(submit(tmp_path, plan, site, bench=BENCH, python="/usr/bin/python3", configuration=""))
    assert jobs == ["1", "2", "3"]
    first, second, third = said.read_text().splitlines()
    assert "--array=0-0" in first
    assert "--dependency" not in first
    assert "--array=0-1 --export=ALL,FIRST=1" in second
    assert "--dependency=afterany:1" in second
    assert "--array=0-1 --export=ALL,FIRST=3" in third
    assert "--partition=" in third
    script = (tmp_path / "task.sh").read_text()
    assert f"exec /usr/bin/python3 -m hpcbench.tasks {tmp_path} $((FIRST + SLURM_ARRAY_TASK_ID))" in script
    assert "module load" in script


def test_what_sbatch_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(tmp_path, "nightly-build", 0.001)
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho 'invalid partition specified: gpu' >&2\nexit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(BenchError, match="invalid partition specified"):
        next(
            submit(
                tmp_path, plan, load_site(BENCH / "sites" / "one-vm.toml"), bench=BENCH, python="p", configuration=""
            )
        )
