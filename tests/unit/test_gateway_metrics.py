"""What Prometheus is told of all repositories."""

from __future__ import annotations

from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from functions.publishing.head import WHITELIST_PATH
from gateway.metrics import KEEP
from tests.gateway_client import Gateway

ALICE, BOB = "alice.infn.it", "bob.infn.it"


@pytest.fixture
def gateway(world):
    return Gateway(world)


def told(gateway: Gateway) -> dict[tuple[str, str], float]:
    answer = gateway.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name.removeprefix("cvmfs_cloud_"), sample.labels["repository"]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_days_revisions_and_problems_of_every_repository_are_told(world, gateway):
    world.repository("alice")
    world.repository("bob")
    world.upload("cvmfs/a//b", b"1")
    world.upload("cvmfs/fine", b"1")
    world.run_until_quiet()
    metrics = told(gateway)
    assert 29 < metrics["whitelist_days_left", ALICE] <= 30
    assert (metrics["revision", ALICE], metrics["revision", BOB]) == (2, 1)
    assert (metrics["problems", ALICE], metrics["problems", BOB]) == (1, 0)
    assert metrics["damaged", ALICE] == 0
    assert abs(metrics["published_timestamp_seconds", ALICE] - world.clock.now.timestamp()) < 60


def test_a_whitelist_that_has_ended_has_a_negative_number_of_days_left(world, gateway):
    world.repository("alice")
    world.clock.now += timedelta(days=31)
    assert told(gateway)["whitelist_days_left", ALICE] < 0


def test_what_cannot_be_read_is_damaged_and_keeps_nothing_else_from_being_told(world, gateway):
    world.repository("alice")
    world.repository("bob")
    world.store_of(ALICE).put(WHITELIST_PATH, b"nonsense")
    metrics = told(gateway)
    assert (metrics["damaged", ALICE], metrics["damaged", BOB]) == (1, 0)
    assert ("whitelist_days_left", ALICE) not in metrics


def test_an_answer_is_given_again_for_a_minute(world, gateway):
    world.repository("alice")
    before = told(gateway)
    world.upload("cvmfs/fine", b"1")
    world.run_until_quiet()
    world.clock.now -= timedelta(seconds=30)
    assert told(gateway) == before
    world.clock.now += 2 * KEEP
    assert told(gateway)["revision", ALICE] == 2
