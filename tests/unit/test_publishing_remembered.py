"""What a process remembers of a repository, for a moment and not for ever."""

from datetime import UTC, datetime, timedelta

import pytest

from functions.publishing.remembered import Remembered, is_recent

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
KEEP = timedelta(seconds=5)


@pytest.mark.parametrize(
    ("seconds", "recent"),
    [
        pytest.param(0, True, id="this very moment"),
        pytest.param(4.9, True, id="a moment ago"),
        pytest.param(5, False, id="long enough ago"),
        pytest.param(-0.1, False, id="a clock that was set back"),
    ],
)
def test_what_was_true_a_moment_ago_is_recent(seconds: float, recent: bool) -> None:
    now = NOON + timedelta(seconds=seconds)
    assert is_recent(NOON, now, KEEP) is recent
    values: Remembered[str] = Remembered(KEEP)
    values.note("a", "value", NOON)
    assert values.recent("a", now) == ("value" if recent else None)
    assert values.last("a") == "value"


def test_what_was_noted_longest_ago_makes_room() -> None:
    values: Remembered[int] = Remembered(KEEP, most=2)
    for number, name in enumerate(["a", "b", "a", "c"]):
        values.note(name, number, NOON)
    assert [values.last(name) for name in "abc"] == [2, None, 3]


def test_what_is_forgotten_is_not_there() -> None:
    values: Remembered[int] = Remembered(KEEP)
    values.note("a", 1, NOON)
    values.forget("a")
    values.forget("b")
    assert values.recent("a", NOON) is values.last("a") is None
