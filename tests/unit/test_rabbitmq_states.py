"""A change queue that is too busy to answer is not taken for an empty one."""

import pytest
from pydantic import SecretStr

from functions.adapters import rabbitmq
from functions.adapters.rabbitmq import STATE_ATTEMPTS, RabbitEventBus
from functions.errors import BrokerUnavailable
from functions.ports import QueueState
from tests.world import SteppingClock

NOTHING = QueueState(ready=0, consumers=0)
SLOW, QUICK = rabbitmq.BUSY_S + 0.1, 0.001


class Told(RabbitEventBus):
    """A bus that is told states in place of asking for them, and how long each takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: tuple[float, QueueState]) -> None:
        super().__init__(SecretStr("amqp://guest:guest@127.0.0.1:1"), exchange="e", name="n", clock=SteppingClock())
        self.answers = list(answers)
        self.now = 0.0
        monkeypatch.setattr(rabbitmq.time, "monotonic", lambda: self.now)

    def _state(self, fqrn: str) -> QueueState:
        seconds, state = self.answers.pop(0)
        self.now += seconds
        return state


def test_an_answer_in_time_is_believed(monkeypatch):
    assert Told(monkeypatch, (QUICK, NOTHING)).changes_state("a.infn.it") == NOTHING


def test_an_answer_that_says_something_is_believed_however_late(monkeypatch):
    waiting = QueueState(ready=7, consumers=0)
    assert Told(monkeypatch, (SLOW, waiting)).changes_state("a.infn.it") == waiting


def test_a_late_answer_of_nothing_is_asked_for_again(monkeypatch):
    waiting = QueueState(ready=7, consumers=0)
    bus = Told(monkeypatch, (SLOW, NOTHING), (SLOW, NOTHING), (QUICK, waiting))
    assert bus.changes_state("a.infn.it") == waiting


def test_a_queue_that_never_answers_in_time_is_tried_again_later(monkeypatch):
    bus = Told(monkeypatch, *[(SLOW, NOTHING)] * STATE_ATTEMPTS)
    with pytest.raises(BrokerUnavailable, match=r"changes\.a\.infn\.it"):
        bus.changes_state("a.infn.it")
