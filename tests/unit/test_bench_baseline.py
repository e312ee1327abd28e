"""The polling design on small loads, by hand, and on any load."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.baseline import PER_FILE_S, POLL_S, PUBLISH_S, Arrival, polling

ARRIVALS = st.lists(
    st.builds(
        Arrival,
        st.sampled_from(["a.infn.it", "b.infn.it", "c.infn.it"]),
        st.floats(0, 500).map(lambda at: round(at, 3)),
        st.integers(1, 1000),
    ),
    min_size=1,
    max_size=30,
)


def test_one_upload_waits_for_the_next_look_and_its_publish() -> None:
    assert polling([Arrival("a", 100.0)], phase_s=30.0) == [pytest.approx(130.0 + PUBLISH_S + PER_FILE_S)]


def test_repositories_wait_for_each_other() -> None:
    seen = polling([Arrival(f"r{number}", 0.0) for number in range(100)], phase_s=0.0)
    assert max(seen) == pytest.approx(100 * (PUBLISH_S + PER_FILE_S))


def test_what_comes_after_the_look_waits_a_minute_more() -> None:
    first, second = polling([Arrival("a", 0.0), Arrival("a", 1.0)], phase_s=0.5)
    assert second - first == pytest.approx(POLL_S + PUBLISH_S + PER_FILE_S)


def test_a_new_repository_is_noticed_after_half_an_hour() -> None:
    (seen,) = polling([Arrival("a", 10.0)], phase_s=0.0, created={"a": 0.0}, notice_s=1800.0)
    assert 1800.0 < seen < 1800.0 + POLL_S + 2 * PUBLISH_S


@given(ARRIVALS, st.floats(0, POLL_S))
def test_everything_becomes_visible_after_it_came_and_at_most_one_publish_at_a_time(
    arrivals: list[Arrival], phase_s: float
) -> None:
    seen = polling(arrivals, phase_s=phase_s)
    assert all(at >= arrival.at + PUBLISH_S for at, arrival in zip(seen, arrivals, strict=True))
    ends = sorted(set(seen))
    assert all(late - early >= PUBLISH_S for early, late in pairwise(ends))
