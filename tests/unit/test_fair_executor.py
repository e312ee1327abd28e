"""A large batch lets small ones through."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, wait

import pytest

from functions.adapters.fair_executor import FairExecutor


@pytest.fixture
def executor() -> Iterator[FairExecutor]:
    executor = FairExecutor(2)
    yield executor
    executor.shutdown(cancel_futures=True)


def test_a_small_batch_waits_for_one_turn_and_not_for_a_large_one(executor: FairExecutor) -> None:
    order: list[str] = []
    gate = threading.Event()
    held = [executor.submit(gate.wait) for _ in range(2)]
    large = [executor.submit(order.append, f"large {number}") for number in range(100_000)]
    small: list[Future[None]] = []
    other = threading.Thread(target=lambda: small.extend(executor.submit(order.append, "small") for _ in range(10)))
    other.start()
    other.join()
    gate.set()
    wait([*held, *small])
    last = max(number for number, name in enumerate(list(order)) if name == "small")
    assert last < 50, "ten turns of two batches, and what two threads were just about to do"
    wait(large)
    assert len(order) == 100_010


def test_those_who_wait_take_turns_and_each_keeps_its_order() -> None:
    executor = FairExecutor(1)
    order: list[tuple[int, int]] = []
    gate = threading.Event()
    submitted: list[Future[object]] = [executor.submit(gate.wait)]
    ready = threading.Barrier(5)

    def request(name: int) -> None:
        submitted.extend([executor.submit(order.append, (turn, name)) for turn in range(5)])
        ready.wait()  # thread identifiers of the living are different

    threads = [threading.Thread(target=request, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    ready.wait()
    gate.set()
    wait(submitted)
    executor.shutdown()
    assert [turn for turn, _ in order] == sorted(list(range(5)) * 4)


def test_outcomes_errors_and_cancellations_reach_whoever_waits(executor: FairExecutor) -> None:
    assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
    with pytest.raises(ZeroDivisionError):
        executor.submit(lambda: 1 // 0).result()
    gate = threading.Event()
    held = [executor.submit(gate.wait) for _ in range(2)]
    never = executor.submit(pow, 2, 2)
    assert never.cancel()
    gate.set()
    wait(held)
    with pytest.raises(CancelledError):
        never.result()
    assert executor.submit(pow, 2, 2).result() == 4
