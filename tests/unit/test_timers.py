"""A timer becomes one request for every repository."""

import pytest
from cloudevents.http import CloudEvent

from events import RepositoryChanged, types
from functions.handlers import timers

PING = CloudEvent({"type": types.PING, "source": "/apis/v1/namespaces/cvmfs-cloud/pingsources/some"}, {})


def changed(fqrn: str) -> RepositoryChanged:
    return RepositoryChanged(repository=fqrn, cause="timer")


def test_only_a_pingsource_is_a_timer():
    assert timers.is_timer(PING)
    assert not timers.is_timer(CloudEvent({"type": RepositoryChanged.TYPE, "source": "/x"}, {}))


@pytest.mark.parametrize("batch", [1, 2, 500])
def test_every_repository_is_asked_once(world, monkeypatch, batch):
    monkeypatch.setattr(timers, "BATCH", batch)
    for user in ("carol", "alice", "bob"):
        world.request(user)
    world.run_until_quiet()
    sent = []
    monkeypatch.setattr(world.bus, "publish", sent.extend)
    assert timers.ask_for_each(PING, world.cloud, "some-step", changed) == 3
    assert [event["subject"] for event in sent] == ["alice.infn.it", "bob.infn.it", "carol.infn.it"]
    assert {event["source"] for event in sent} == {"/cvmfs-cloud/some-step"}


def test_without_repositories_there_is_nothing_to_ask(world):
    assert timers.ask_for_each(PING, world.cloud, "some-step", changed) == 0
