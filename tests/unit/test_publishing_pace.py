"""How often a repository may get a new revision."""

import pytest

from functions.publishing.pace import LONGEST_S, SAVED_UP, Pace

AT_THE_BEGINNING = SAVED_UP + 1
"""Revisions more than one for each interval: those saved up, and the one that is being made in the end."""


def test_the_first_revisions_after_quiet_do_not_wait() -> None:
    pace = Pace(2.0)
    for _ in range(int(SAVED_UP)):
        assert pace.wait_s("a", 100.0) == 0
        pace.spend("a", 100.0)
    assert pace.wait_s("a", 100.0) == 2.0


def test_a_steady_stream_settles_at_one_revision_per_interval() -> None:
    pace, now, revisions = Pace(2.0), 0.0, 0
    while now < 100:
        wait = pace.wait_s("a", now)
        if wait == 0:
            pace.spend("a", now)
            revisions += 1
        else:
            now += wait
    assert revisions <= 100 / 2 + SAVED_UP


def revisions_in(seconds: float, *, took_s: float, interval_s: float | None = None) -> int:
    """How many revisions a stream of changes becomes, each of which takes so long."""
    pace, now, revisions = Pace(2.0), 0.0, 0
    while now < seconds:
        now += pace.wait_s("a", now, interval_s) + took_s
        pace.spend("a", now, interval_s, took_s=took_s)
        revisions += 1
    return revisions


def test_where_revisions_take_long_there_are_fewer() -> None:
    assert revisions_in(100, took_s=0.1) == pytest.approx(100 / 2, abs=AT_THE_BEGINNING)
    assert revisions_in(100, took_s=0.3) == pytest.approx(100 / 3, abs=AT_THE_BEGINNING)
    assert revisions_in(100, took_s=2.0) == pytest.approx(100 / LONGEST_S, abs=AT_THE_BEGINNING)


def test_an_interval_that_is_longer_anyway_is_not_stretched() -> None:
    assert revisions_in(600, took_s=3.0, interval_s=30.0) == pytest.approx(600 / 30, abs=AT_THE_BEGINNING)


def test_one_repository_does_not_slow_another() -> None:
    pace = Pace(2.0)
    for _ in range(5):
        pace.spend("a", 0.0)
    assert pace.wait_s("b", 0.0) == 0


def test_no_interval_means_no_waiting() -> None:
    pace = Pace(0)
    for _ in range(10):
        pace.spend("a", 0.0)
    assert pace.wait_s("a", 0.0) == 0


def test_a_repository_may_have_an_interval_of_its_own() -> None:
    pace, now, revisions = Pace(2.0), 0.0, 0
    while now < 600:
        now += pace.wait_s("slow", now, 30.0)
        pace.spend("slow", now, 30.0)
        revisions += 1
    assert revisions <= 600 / 30 + 3
    assert pace.wait_s("usual", now) == 0
