"""What every EventBus does."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from cloudevents.http import CloudEvent, from_json

from functions.errors import BrokerUnavailable

REQUESTED = "it.infn.datacloud.cvmfs.repository.requested"
FQRN = "einstein.infn.it"


def event(number=0, kind=REQUESTED):
    return CloudEvent(
        {"type": kind, "source": "/test", "id": f"event/{number}", "time": "2026-03-01T12:00:00+00:00"},
        {"number": number, "text": "caf\u00e9 \U0001f600"},
    )


def bodies(deliveries):
    return [delivery.body for delivery in deliveries]


def records(count, start=0):
    return [b"record %d" % number for number in range(start, start + count)]


def take_all(consumer, count):
    """Take until `count` messages have come."""
    taken = []
    while len(taken) < count:
        more = consumer.take(wait_s=20, most=count - len(taken))
        assert more, f"only {len(taken)} of {count} messages came"
        taken += more
    return taken


def _drained(broker, queue, count):
    """What comes back to a queue, which takes RabbitMQ a moment."""
    deadline = time.monotonic() + 20
    messages = broker.drain(queue)
    while len(messages) < count and time.monotonic() < deadline:
        time.sleep(0.01)
        messages += broker.drain(queue)
    return messages


class EventBusContract:
    """Subclasses give `bus`, `other_bus` on the same broker, `broken_bus`, and `broker`.

    `broker` has drain(queue) -> messages with body and headers, and cut() which breaks the connection of `other_bus`,
    or, where both are one, that of the active consumers; put_off(step) drains where work waits that was put off.
    The queues are those of the service: fn.store-keys takes repository.requested, cvmfs.unrouted what nothing takes.
    """

    def test_an_event_arrives_on_the_queue_of_its_type_as_it_was(self, bus, broker):
        bus.publish([event(7)])
        (message,) = broker.drain("fn.store-keys")
        arrived = from_json(message.body)
        assert arrived["id"] == "event/7"
        assert arrived["type"] == REQUESTED
        assert arrived["time"] == "2026-03-01T12:00:00+00:00"
        assert arrived.data == {"number": 7, "text": "caf\u00e9 \U0001f600"}

    def test_many_events_arrive_in_order(self, bus, broker):
        bus.publish([event(number) for number in range(300)])
        assert [from_json(message.body).data["number"] for message in broker.drain("fn.store-keys")] == list(range(300))

    def test_publishing_nothing_is_fine(self, bus, broker):
        bus.publish([])
        assert broker.drain("fn.store-keys") == []

    def test_an_event_that_nobody_handles_is_kept_as_unrouted(self, bus, broker):
        bus.publish([event(1, "org.example.unheard-of")])
        (message,) = broker.drain("cvmfs.unrouted")
        assert from_json(message.body)["type"] == "org.example.unheard-of"

    def test_events_published_from_many_threads_all_arrive(self, bus, broker):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda turn: bus.publish([event(turn * 20 + number) for number in range(20)]), range(10)))
        arrived = [from_json(message.body).data["number"] for message in broker.drain("fn.store-keys")]
        assert sorted(arrived) == list(range(200))

    def test_a_parked_message_keeps_its_bytes_and_says_why_when_and_where(self, bus, broker):
        bus.park("store-keys", b"\x00not json", reason="no subject", headers={"x-event-id": "event/1"})
        (message,) = broker.drain("fn.store-keys.parked")
        assert message.body == b"\x00not json"
        assert message.headers["x-parked-reason"] == "no subject"
        assert message.headers["x-parked-step"] == "store-keys"
        assert message.headers["x-event-id"] == "event/1"
        assert abs(datetime.fromisoformat(message.headers["x-parked-at"]) - datetime.now(UTC)) < timedelta(minutes=5)

    @pytest.mark.parametrize(
        "reason",
        ["bad byte \udcff in a name", "x" * 1_000_000, "caf\u00e9\n\t\0"],
        ids=["surrogate", "huge", "control"],
    )
    def test_any_reason_can_be_parked(self, bus, broker, reason):
        bus.park("store-keys", b"1", reason=reason, headers={})
        (message,) = broker.drain("fn.store-keys.parked")
        assert 0 < len(message.headers["x-parked-reason"]) <= 2000

    def test_a_message_with_any_headers_can_be_parked(self, bus, broker):
        headers = {"ce-id": "1", f"ce-{'n' * 255}": "a", **{f"ce-x{number}": "\u20ac" * 8000 for number in range(90)}}
        bus.park("store-keys", b"1", reason="unreadable", headers=headers)
        (message,) = broker.drain("fn.store-keys.parked")
        assert (message.headers["x-parked-reason"], message.headers["ce-id"]) == ("unreadable", "1")
        assert f"ce-{'n' * 255}" not in message.headers
        assert 10 < len(message.headers) < 30

    def test_a_reply_is_plain_bytes_on_a_named_queue(self, bus, broker):
        bus.reply("cvmfs_reply", b"AAIeinstein,sub,einstein.infn.it,Y,-")
        assert [message.body for message in broker.drain("cvmfs_reply")] == [b"AAIeinstein,sub,einstein.infn.it,Y,-"]

    def test_work_arrives_on_the_queue_of_its_step_in_order(self, bus, broker):
        assert bus.work_waiting("store-keys") == 0
        bus.send_work("store-keys", [])
        bus.send_work("store-keys", [b"one", b"two", b"three"])
        assert bus.work_waiting("store-keys") == 3
        assert [message.body for message in broker.drain("fn.store-keys")] == [b"one", b"two", b"three"]

    def test_work_is_taken_in_order_and_what_is_acknowledged_is_gone(self, bus, broker):
        bus.send_work("store-keys", records(5))
        with bus.take_work("store-keys", most=3) as work:
            assert bodies(work.deliveries) == records(3)
            assert [delivery.content_type for delivery in work.deliveries] == [None] * 3
            work.ack(work.deliveries)
        assert [message.body for message in broker.drain("fn.store-keys")] == records(2, start=3)

    def test_work_that_is_left_over_goes_back(self, bus, broker):
        bus.send_work("store-keys", records(4))
        with bus.take_work("store-keys", most=10) as work:
            work.ack(work.deliveries[1:3])
        left = _drained(broker, "fn.store-keys", 2)
        assert sorted(message.body for message in left) == [records(4)[0], records(4)[3]]

    def test_work_that_fails_half_way_goes_back(self, bus, broker):
        bus.send_work("store-keys", records(2))
        with pytest.raises(ZeroDivisionError), bus.take_work("store-keys", most=10):
            raise ZeroDivisionError
        assert len(_drained(broker, "fn.store-keys", 2)) == 2

    def test_work_that_is_put_off_comes_after_the_rest(self, bus, broker):
        bus.send_work("store-keys", records(3))
        with bus.take_work("store-keys", most=2) as work:
            work.put_off(work.deliveries[:1])
            work.ack(work.deliveries[1:])
        assert [message.body for message in broker.drain("fn.store-keys")][:1] == records(1, start=2)
        assert [message.body for message in broker.put_off("store-keys")] == records(1)

    def test_where_nothing_waits_no_work_is_taken(self, bus):
        with bus.take_work("store-keys", most=3) as work:
            assert work.deliveries == []
            work.ack([])
            work.put_off([])

    def test_the_kind_of_an_event_is_told_with_it(self, bus):
        bus.publish([event(1)])
        with bus.take_work("store-keys", most=3) as work:
            (delivery,) = work.deliveries
            assert delivery.content_type.startswith("application/cloudevents+json")
            work.ack([delivery])

    def test_a_message_for_a_queue_that_does_not_exist_is_an_error_and_the_bus_goes_on(self, bus, broker):
        for attempt in (
            lambda: bus.park("no-such-step", b"1", reason="x", headers={}),
            lambda: bus.reply("no-such-queue", b"1"),
            lambda: bus.send_work("no-such-step", [b"1"]),
            lambda: bus.work_waiting("no-such-step"),
            lambda: bus.send_changes("nobody.infn.it", [b"1"]),
            lambda: bus.changes_state("nobody.infn.it"),
            lambda: bus.consume_changes("nobody.infn.it").__enter__(),
            lambda: bus.take_work("no-such-step", most=1).__enter__(),
        ):
            with pytest.raises(BrokerUnavailable, match="no"):
                attempt()
        bus.reply("cvmfs_reply", b"1")
        assert len(broker.drain("cvmfs_reply")) == 1

    def test_declaring_a_change_queue_again_is_fine_and_keeps_what_it_holds(self, bus):
        bus.declare_changes(FQRN)
        assert bus.changes_state(FQRN).ready == 0
        bus.send_changes(FQRN, [b"1"])
        bus.declare_changes(FQRN)
        assert bus.changes_state(FQRN).ready == 1

    def test_sending_tells_how_many_wait_and_whether_somebody_consumes(self, bus, other_bus):
        bus.declare_changes(FQRN)
        state = bus.send_changes(FQRN, records(3))
        assert (state.ready, state.consumers) == (3, 0)
        state = bus.send_changes(FQRN, records(2))
        assert (state.ready, state.consumers) == (5, 0)
        with other_bus.consume_changes(FQRN) as consumer:
            take_all(consumer, 5)
            state = bus.send_changes(FQRN, records(1))
            assert state.consumers == 1

    def test_what_was_pushed_to_the_active_consumer_is_no_longer_ready(self, bus, other_bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(3))
        with other_bus.consume_changes(FQRN) as consumer:
            take_all(consumer, 1)
            assert bus.changes_state(FQRN).ready == 0

    def test_changes_are_taken_in_order_and_acknowledged_ones_are_gone(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(50))
        with bus.consume_changes(FQRN) as consumer:
            first = take_all(consumer, 20)
            rest = take_all(consumer, 30)
            assert bodies(first) + bodies(rest) == records(50)
            assert not any(delivery.redelivered for delivery in first + rest)
            consumer.ack(first)
            consumer.ack(rest)
        state = bus.changes_state(FQRN)
        assert (state.ready, state.consumers) == (0, 0)

    def test_a_backlog_is_taken_in_few_pieces(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(2_000))
        pieces: list[int] = []
        with bus.consume_changes(FQRN) as consumer:
            while sum(pieces) < 2_000 and len(pieces) < 20:  # a broker that pauses ends a piece
                pieces.append(len(consumer.take(wait_s=20, most=5_000)))
        assert sum(pieces) == 2_000

    def test_take_returns_at_most_what_was_asked_for(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(10))
        with bus.consume_changes(FQRN) as consumer:
            assert bodies(consumer.take(wait_s=20, most=3)) == records(3)

    def test_take_waits_for_the_first_change_and_not_longer_than_it_was_told(self, bus, other_bus):
        bus.declare_changes(FQRN)
        with bus.consume_changes(FQRN) as consumer:
            assert list(consumer.take(wait_s=0.05, most=10)) == []
            assert list(consumer.take(wait_s=0, most=10)) == []
            sender = threading.Timer(0.3, other_bus.send_changes, (FQRN, [b"late"]))
            sender.start()
            try:
                assert bodies(consumer.take(wait_s=20, most=10)) == [b"late"]
            finally:
                sender.join()

    def test_a_second_consumer_gets_nothing_while_the_first_is_there(self, bus, other_bus):
        bus.declare_changes(FQRN)
        with bus.consume_changes(FQRN) as active, other_bus.consume_changes(FQRN) as waiting:
            bus.send_changes(FQRN, records(5))
            assert list(waiting.take(wait_s=0.3, most=10)) == []
            assert bodies(take_all(active, 5)) == records(5)
            assert bus.changes_state(FQRN).consumers == 1  # RabbitMQ 3.10 counts the active one only

    def test_two_consumers_in_one_process_exclude_each_other_too(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(2))
        with bus.consume_changes(FQRN) as active:
            assert bodies(take_all(active, 2)) == records(2)
            with bus.consume_changes(FQRN) as waiting:
                assert list(waiting.take(wait_s=0.3, most=10)) == []

    def test_a_waiting_consumer_gets_what_the_first_left_in_order(self, bus, other_bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(10))
        with ExitStack() as first, ExitStack() as second:
            active = first.enter_context(bus.consume_changes(FQRN))
            taken = take_all(active, 6)
            waiting = second.enter_context(other_bus.consume_changes(FQRN))
            active.ack(taken[:2])
            bus.send_changes(FQRN, records(2, start=10))
            first.close()
            follow = take_all(waiting, 10)
            assert bodies(follow) == records(12)[2:]
            assert [delivery.redelivered for delivery in follow[:4]] == [True] * 4

    def test_a_consumer_whose_connection_breaks_is_replaced_and_nothing_is_lost(self, bus, other_bus, broker):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(5))
        with other_bus.consume_changes(FQRN) as dying:
            taken = take_all(dying, 5)
            with bus.consume_changes(FQRN) as heir:
                broker.cut()
                follow = take_all(heir, 5)
                assert bodies(follow) == records(5)
                assert all(delivery.redelivered for delivery in follow)
                with pytest.raises(BrokerUnavailable):
                    dying.take(wait_s=20, most=10)
                with pytest.raises(BrokerUnavailable):
                    dying.ack(taken)
                heir.ack(follow)
        assert bus.changes_state(FQRN).ready == 0

    def test_changes_may_be_acknowledged_in_any_order(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(6))
        with bus.consume_changes(FQRN) as consumer:
            taken = take_all(consumer, 6)
            consumer.ack([taken[5], taken[1]])
            consumer.ack([])
            consumer.ack([taken[3], taken[2]])
        with bus.consume_changes(FQRN) as consumer:
            assert bodies(take_all(consumer, 2)) == [b"record 0", b"record 4"]

    def test_the_state_after_leaving_counts_what_came_back_and_not_the_leaver(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(20))
        for _ in range(60):
            with bus.consume_changes(FQRN) as consumer:
                take_all(consumer, 5)
            state = bus.changes_state(FQRN)
            assert (state.ready, state.consumers) == (20, 0), state

    def test_a_change_that_came_while_leaving_is_seen_by_the_leaver(self, bus, other_bus):
        bus.declare_changes(FQRN)
        with ThreadPoolExecutor(1) as pool:
            for _ in range(60):
                with bus.consume_changes(FQRN):
                    sending = pool.submit(other_bus.send_changes, FQRN, [b"last minute"])
                told = sending.result()
                seen = bus.changes_state(FQRN)
                assert seen.ready == 1, f"the sender was told {told}"
                assert seen.consumers == 0
                with bus.consume_changes(FQRN) as consumer:
                    consumer.ack(take_all(consumer, 1))

    def test_a_message_returned_many_times_is_still_there(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, [b"stubborn"])
        for _ in range(25):
            with bus.consume_changes(FQRN) as consumer:
                assert bodies(take_all(consumer, 1)) == [b"stubborn"]
        assert bus.changes_state(FQRN).ready == 1

    def test_after_a_broken_connection_the_next_call_works(self, other_bus, broker):
        other_bus.declare_changes(FQRN)
        broker.cut()
        other_bus.publish([event()])
        broker.cut()
        other_bus.send_changes(FQRN, [b"1"])
        broker.cut()
        assert other_bus.changes_state(FQRN).ready == 1
        broker.cut()
        with other_bus.consume_changes(FQRN) as consumer:
            assert bodies(take_all(consumer, 1)) == [b"1"]

    def test_a_change_queue_that_is_dropped_is_gone_with_all_that_waited(self, bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(3))
        for _ in range(2):
            bus.drop_changes(FQRN)
        with pytest.raises(BrokerUnavailable, match="no"):
            bus.changes_state(FQRN)
        bus.declare_changes(FQRN)
        assert bus.changes_state(FQRN).ready == 0

    def test_whoever_is_attached_to_a_dropped_queue_hears_of_it(self, bus, other_bus):
        bus.declare_changes(FQRN)
        bus.send_changes(FQRN, records(1))
        with bus.consume_changes(FQRN) as consumer:
            taken = take_all(consumer, 1)
            other_bus.drop_changes(FQRN)
            with pytest.raises(BrokerUnavailable):
                consumer.take(wait_s=20, most=1)
            with pytest.raises(BrokerUnavailable):
                consumer.ack(taken)

    def test_a_broker_that_does_not_answer_says_so(self, broken_bus):
        for attempt in (
            lambda: broken_bus.publish([event()]),
            lambda: broken_bus.park("store-keys", b"1", reason="x", headers={}),
            lambda: broken_bus.reply("cvmfs_reply", b"1"),
            lambda: broken_bus.declare_changes(FQRN),
            lambda: broken_bus.drop_changes(FQRN),
            lambda: broken_bus.send_changes(FQRN, [b"1"]),
            lambda: broken_bus.changes_state(FQRN),
            lambda: broken_bus.consume_changes(FQRN).__enter__(),
        ):
            with pytest.raises(BrokerUnavailable):
                attempt()
