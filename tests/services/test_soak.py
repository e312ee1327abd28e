"""A short soak: every kind of fault once, under users at work. The long form is ``make soak``; see tests/README.md."""

from __future__ import annotations

import pytest

from tests.soak.report import table
from tests.soak.run import Options, Soak

pytestmark = pytest.mark.services


def test_whatever_happens_repositories_equal_their_buckets_and_nothing_is_lost(tmp_path):
    options = Options(seed=1, operations=300, repositories=2, users=3, pace=5.0, short=True)
    result = Soak(options, tmp_path, lambda _: None).run()
    assert result.faults == [], f"{table(result)}\nThe run is kept in {tmp_path}"
    assert all(result.effect[name] for name in ("kill source and functions", "kill RadosGW", "kill RabbitMQ"))
