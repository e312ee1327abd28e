"""Percentiles, rates, CPU of processes, and the demands and predictions made from them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.demands import PARTS, Demand, Demands, causes, fit, leave_one_out
from hpcbench.model import Burst, drain, most_uploads_per_s, revision_rate, steady
from hpcbench.numbers import per_second, percentile, spread
from hpcbench.probe.machine import Machine, processes, proportional
from hpcbench.raw import RawFile, read


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1.0))
def test_a_percentile_is_reached_by_its_share_and_by_no_smaller_value(values: list[float], share: float) -> None:
    values.sort()
    found = percentile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_a_spread_counts_what_is_known() -> None:
    assert spread([None, 3.0, 1.0, 2.0, None]) == {"n": 3, "p50": 2.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert spread([None]) == {}


def test_rates_are_counted_in_their_bins() -> None:
    assert per_second([0.1, 0.2, 2.1, 99.0], 0.0, 4.0, 2.0) == [1.0, 0.5]


def test_a_function_of_the_stack_is_found_and_its_memory_and_time_are_counted(tmp_path: Path) -> None:
    program = "import time, sys; x = bytearray(60 << 20); print(1, flush=True)\nwhile True: sum(range(1000))"
    environment = {**os.environ, "FUNCTION_TARGET": "publish_transaction"}
    child = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        raw = RawFile(tmp_path, "probe")
        machine = Machine(tmp_path, raw, stack=os.getpid())
        machine.sample()
        spent = processes()[child.pid].cpu_s
        while processes()[child.pid].cpu_s < spent + 0.1:
            pass
        machine.sample()
        assert proportional(child.pid) > 60 << 20
    finally:
        child.kill()
        child.wait()
        child.stdout.close()  # type: ignore[union-attr]
    machine.sample()
    raw.close()
    first, second, third = read(tmp_path)
    part = "function publish_transaction"
    assert second["parts"][part]["cpu_s"] - first["parts"][part]["cpu_s"] >= 0.1
    assert second["parts"][part]["instances"][0] > 60 << 20
    assert part not in third["parts"]
    assert second["busy_s"] >= first["busy_s"]


TRUE: Demands = {
    part: Demand(per_upload=0.001 * (1 + number), per_revision=0.01 * (number % 3), per_second=0.002 * number)
    for number, part in enumerate(PARTS)
}


def summary(uploads: int, revisions: int, seconds: float, **more: Any) -> dict[str, Any]:
    cpu = {part: demand.cpu_s(uploads, revisions, seconds) for part, demand in TRUE.items()}
    return {
        "scenario": "s",
        "scale": 1,
        "counts": {"uploads": uploads, "deletions": 0, "files": uploads, "revisions": revisions, "read_by_clients": 0},
        "seconds": {"load": seconds, "last_put_to_all_visible": 0.0},
        "cpu_s": cpu,
        **more,
    }


RUNS = [summary(10_000, 30, 60), summary(500, 400, 20), summary(60, 60, 150), summary(3_000, 900, 100)]


def test_the_demands_that_made_the_runs_are_found_again() -> None:
    found = fit(RUNS)
    for part, demand in TRUE.items():
        assert found[part].per_upload == pytest.approx(demand.per_upload, rel=1e-6, abs=1e-9)
        assert found[part].per_revision == pytest.approx(demand.per_revision, rel=1e-6, abs=1e-9)
    assert all(abs(error) < 1e-6 for error in leave_one_out(RUNS).values())


def test_a_run_that_does_not_fit_shows_as_an_error() -> None:
    odd = summary(2_000, 100, 50)
    odd["cpu_s"] = {part: 2 * seconds for part, seconds in odd["cpu_s"].items()}
    found = leave_one_out([*RUNS, {**odd, "scenario": "odd"}])
    assert found["odd at scale 1"] == pytest.approx(-0.5, abs=0.01)


def test_one_run_cannot_tell_uploads_from_revisions() -> None:
    with pytest.raises(ValueError, match="two runs"):
        fit(RUNS[:1])


def test_a_quiet_repository_has_a_revision_for_each_upload_and_a_busy_one_one_in_each_pace() -> None:
    assert revision_rate(1.0, 10_000) == pytest.approx(1.0, rel=1e-3)
    assert revision_rate(1e9, 10) == pytest.approx(5.0, rel=1e-3)


def test_a_steady_load_needs_what_its_uploads_and_revisions_cost() -> None:
    found = steady(TRUE, uploads_per_s=1000, repositories=10_000, limits={"OpenBao": 4.0, "RabbitMQ": 8.0})
    revisions = revision_rate(1000, 10_000)
    assert found.cores["OpenBao"] == pytest.approx(TRUE["OpenBao"].cpu_s(1000, revisions, 1))
    assert found.pods["publish-transaction"] * 0.7 >= found.cores["function publish_transaction"]
    assert found.first_bottleneck == "RabbitMQ"


def test_at_the_largest_rate_the_first_component_is_at_its_limit() -> None:
    limits = {"OpenBao": 4.0, "RabbitMQ": 8.0}
    most = most_uploads_per_s(TRUE, repositories=10_000, limits=limits)
    found = steady(TRUE, uploads_per_s=most, repositories=10_000, limits=limits)
    assert max(found.share_of_limit.values()) == pytest.approx(1.0)


def test_a_burst_ends_with_everything_visible_and_takes_at_least_its_work() -> None:
    burst = Burst(uploads=2_000, repositories=1, users=32, cores=2.0)
    found = drain(burst, TRUE)
    work = sum(demand.per_upload * 2_000 + demand.per_revision * found.revisions for demand in TRUE.values())
    assert found.load_s + found.last_put_to_all_visible_s >= work / 2.0
    half = drain(Burst(uploads=2_000, repositories=1, users=32, cores=1.0), TRUE)
    assert half.load_s > found.load_s * 1.7


def test_a_burst_over_many_repositories_has_at_least_a_revision_for_each() -> None:
    found = drain(Burst(uploads=1_000, repositories=200, users=50, cores=2.0), TRUE)
    assert 200 <= found.revisions <= 1_000


def test_causes_are_those_of_the_fit() -> None:
    assert causes(RUNS[0]) == (10_000, 30, 60.0)
