"""Clocks of nodes brought to the probe's."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcbench.clocks import ClockServer, Correction, Reading, measure


def test_a_clock_that_is_wrong_is_measured_to_half_of_the_round_trip() -> None:
    server = ClockServer("127.0.0.1")
    try:
        reading = measure("127.0.0.1", server.port, clock=lambda: time.time() - 123.0)
    finally:
        server.close()
    assert reading is not None
    assert abs(reading.offset - 123.0) <= reading.round_trip / 2 + 1e-3


def test_nobody_there_is_no_reading() -> None:
    server = ClockServer("127.0.0.1")
    server.close()
    assert measure("127.0.0.1", server.port) is None


@given(
    offset=st.floats(-1e4, 1e4),
    drift=st.floats(-1e-3, 1e-3),
    at=st.floats(0, 1000),
)
def test_a_clock_that_drifts_is_put_right_between_its_readings(offset: float, drift: float, at: float) -> None:
    def ahead(moment: float) -> float:
        return offset + drift * moment

    correct = Correction(Reading(moment, ahead(moment), 0.002) for moment in (0.0, 250.0, 1000.0))
    assert correct(at) == pytest.approx(at + ahead(at), abs=1e-6)
    assert correct.error_s == 0.001


def test_before_the_first_and_after_the_last_reading_the_nearest_counts() -> None:
    correct = Correction([Reading(10, 1.0, 0.0), Reading(20, 2.0, 0.0)])
    assert (correct(0), correct(30), correct(15)) == (1.0, 32.0, 16.5)
    assert Correction([])(7.0) == 7.0
