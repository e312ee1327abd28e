"""Reading manifests, the environment of a container, and the decisions of the autoscaler."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from functions.local.runtime.container import Image, command_line, container_environment
from functions.local.runtime.durations import backoff_seconds, go_seconds
from functions.local.runtime.errors import ManifestError
from functions.local.runtime.manifests import Delivery, Manifests, Service, Variable, VariableSource, installed_folder
from functions.local.runtime.scaling import Scale, pause_s
from tests.runtime_toys import toy_manifests


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT0.2S", 0.2), ("PT2S", 2.0), ("PT1M30S", 90.0), ("PT1H", 3600.0), ("P1D", 86400.0), ("PT0.1S", 0.1)],
)
def test_a_backoff_delay_is_an_iso_8601_duration(text, seconds):
    assert backoff_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["1s", "PT0S", "PT0.05S", "P", "PT", "", "PT1", "P1M", "pt2s", "-PT1S", 2, None])
def test_a_delay_that_would_kill_the_real_source_is_refused(text):
    with pytest.raises(ValueError, match=r"duration|shorter"):
        backoff_seconds(text)


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60.0), ("1m30s", 90.0), ("2h", 7200.0), ("500ms", 0.5)])
def test_a_window_is_a_go_duration(text, seconds):
    assert go_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["60", "s", "", "1 m", "PT60S", 60])
def test_a_window_in_another_form_is_refused(text):
    with pytest.raises(ValueError, match="duration"):
        go_seconds(text)


@pytest.mark.parametrize(
    ("policy", "waits"), [("linear", [0.5, 1.0, 1.5]), ("exponential", [1.0, 2.0, 4.0])], ids=["linear", "exponential"]
)
def test_waits_grow_as_the_policy_says(policy, waits):
    delivery = Delivery(retry=3, policy=policy, delay_s=0.5)
    assert [delivery.wait_s(attempt) for attempt in (1, 2, 3)] == waits


def test_a_delivery_without_a_policy_is_exponential_from_200_ms():
    assert Delivery.model_validate({"retry": 2}) == Delivery(retry=2, policy="exponential", delay_s=0.2)


def test_the_manifests_of_this_installation_are_found_and_read():
    manifests = Manifests.load(installed_folder())
    gateway = manifests.services["gateway"]
    assert gateway.command == ("python", "-m", "gateway")
    assert gateway.min_scale == 1
    assert manifests.sources["legacy-replies"].path == "/legacy/replies"
    assert manifests.sources["legacy-replies"].namespace == "cvmfs-cloud"


def test_every_fault_of_every_file_is_told_at_once(tmp_path):
    folder = toy_manifests(tmp_path / "m", vhost="/", ttl_ms=1000)
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(
        text.replace("PT0.1S", "PT0.01S").replace("predeclared: true", "predeclared: false")
    )
    (folder / "a.yaml").write_text("a: [")
    (folder / "b.yaml").write_text("just text")
    with pytest.raises(ManifestError) as told:
        Manifests.load(folder)
    for part in ("a.yaml", "b.yaml", "toy.yaml: Source toy", "backoffDelay", "predeclared"):
        assert part in str(told.value)


def test_a_sink_that_nobody_defines_is_told(tmp_path):
    folder = toy_manifests(tmp_path / "m", vhost="/", ttl_ms=1000)
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(text.replace("name: toy\n    uri", "name: other\n    uri"))
    with pytest.raises(ManifestError, match="sends to Service other"):
        Manifests.load(folder)


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(ManifestError, match="holds no manifests"):
        Manifests.load(tmp_path)


def service(**fields: object) -> Service:
    return Service(name="step", command=("python", "-m", "x"), **fields)


def test_later_variables_win_and_single_ones_win_over_whole_maps():
    configured = service(
        variable_sources=(
            VariableSource.model_validate({"configMapRef": {"name": "common"}}),
            VariableSource.model_validate({"secretRef": {"name": "own"}}),
            VariableSource.model_validate({"prefix": "P_", "secretRef": {"name": "own"}}),
        ),
        variables=(
            Variable(name="C", value="literal"),
            Variable.model_validate({"name": "D", "valueFrom": {"secretKeyRef": {"name": "own", "key": "B"}}}),
        ),
    )
    settings = {"common": {"A": "1", "B": "common", "C": "common"}, "own": {"B": SecretStr("hidden")}}
    assert container_environment(configured, settings) == {
        "A": "1",
        "B": "hidden",
        "C": "literal",
        "D": "hidden",
        "P_B": "hidden",
    }


def test_all_missing_maps_and_keys_are_told_and_optional_ones_are_not():
    configured = service(
        variable_sources=(
            VariableSource.model_validate({"secretRef": {"name": "vault-step"}}),
            VariableSource.model_validate({"secretRef": {"name": "extra", "optional": True}}),
        ),
        variables=(
            Variable.model_validate({"name": "D", "valueFrom": {"secretKeyRef": {"name": "own", "key": "B"}}}),
            Variable.model_validate(
                {"name": "E", "valueFrom": {"configMapKeyRef": {"name": "own", "key": "C", "optional": True}}}
            ),
        ),
    )
    with pytest.raises(ManifestError, match=r"Service step needs vault-step, own/B$"):
        container_environment(configured, {})


def test_a_command_is_found_beside_the_interpreter():
    assert command_line(service(args=("--flag",)), Image.of_this_process()) == [
        str(Path(sys.executable).parent / "python"),
        "-m",
        "x",
        "--flag",
    ]


@pytest.mark.parametrize("command", [(), ("no-such-program",)], ids=["none", "not installed"])
def test_a_service_that_cannot_be_run_is_told(command):
    with pytest.raises(ManifestError, match=r"program|command"):
        command_line(Service(name="step", command=command), Image.of_this_process())


@pytest.mark.parametrize(
    ("limits", "demand", "instances"),
    [
        pytest.param({}, 0, 0, id="nothing to do, nothing runs"),
        pytest.param({}, 1, 1, id="one request, one instance"),
        pytest.param({}, 8, 1, id="as many requests as one takes"),
        pytest.param({}, 9, 2, id="one more"),
        pytest.param({}, 1000, 5, id="not above max-scale"),
        pytest.param({"most": 0}, 1000, 125, id="max-scale 0 is no limit"),
        pytest.param({"least": 2}, 0, 2, id="not below min-scale"),
        pytest.param({"concurrency": 0}, 1000, 1, id="unlimited concurrency needs one"),
    ],
)
def test_instances_follow_demand_within_the_limits(limits, demand, instances):
    scale = Scale(**{"concurrency": 8, "least": 0, "most": 5, "idle_s": 60.0, "retention_s": 30.0, **limits})
    assert scale.wanted(demand) == instances


@pytest.mark.parametrize(
    ("idle_since", "instances", "least", "going"),
    [
        pytest.param([], 3, 0, 0, id="none is idle"),
        pytest.param([41.0], 2, 0, 0, id="not idle for long enough"),
        pytest.param([10.0, 20.0, 41.0], 4, 0, 2, id="those idle for the window go"),
        pytest.param([10.0, 20.0], 2, 2, 0, id="min-scale stays"),
        pytest.param([10.0, 20.0], 2, 1, 1, id="one above min-scale goes"),
        pytest.param([11.0], 1, 0, 0, id="the last one is retained"),
        pytest.param([10.0], 1, 0, 1, id="the last one goes after the retention"),
    ],
)
def test_idle_instances_go_after_the_window_and_the_last_one_later(idle_since, instances, least, going):
    scale = Scale(concurrency=1, least=least, most=9, idle_s=60.0, retention_s=30.0)
    assert scale.surplus(idle_since, instances=instances, now=100.0) == going


@given(
    idle=st.lists(st.floats(0, 1e6), max_size=20).map(sorted),
    busy=st.integers(0, 20),
    least=st.integers(0, 10),
    now=st.floats(0, 1e6),
)
def test_scaling_down_never_goes_below_the_minimum_nor_touches_the_busy(idle, busy, least, now):
    scale = Scale(concurrency=1, least=least, most=0, idle_s=60.0, retention_s=30.0)
    instances = len(idle) + busy
    going = scale.surplus(idle, instances=instances, now=now)
    assert 0 <= going <= len(idle)
    assert instances - going >= min(least, instances)


def test_pauses_after_failed_starts_double_up_to_ten_seconds():
    assert [pause_s(failures) for failures in range(7)] == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0]


def test_values_are_frozen():
    with pytest.raises(ValidationError):
        service().name = "other"
