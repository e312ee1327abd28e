"""What every QueueAdmin does."""

from datetime import UTC, datetime

import pytest
from cloudevents.http import CloudEvent

from functions.errors import BrokerUnavailable
from functions.ports import Message

PARKED = "fn.store-keys.parked"
STEP = "fn.store-keys"
UNROUTED = "cvmfs.unrouted"


def park(bus, *names):
    for name in names:
        bus.park("store-keys", name.encode(), reason=f"reason of {name}", headers={"x-event-id": name})


def bodies(held):
    return [message.message.body for message in held]


def to_step(body):
    return Message(
        body,
        routing_key=STEP,
        content_type="application/cloudevents+json",
        message_id="event/1",
        sent_at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC),
        headers={"ce-subject": "alice.infn.it"},
    )


class QueueAdminContract:
    """Subclasses give `admin` and `bus` on one broker, `broken_admin`, and `cut()` for the connection of `admin`.

    The queues are those of the service: fn.store-keys with its parked queue, and cvmfs.unrouted.
    """

    def test_what_is_ready_is_counted_and_a_queue_that_is_not_there_is_none(self, admin, bus):
        assert (admin.ready(PARKED), admin.ready("no-such-queue")) == (0, None)
        park(bus, "a", "b")
        assert admin.ready(PARKED) == 2
        assert admin.ready("no-such-queue") is None

    def test_held_messages_are_told_whole_oldest_first_and_stay(self, admin, bus):
        park(bus, "a", "b", "c")
        for _ in range(3):
            with admin.hold(PARKED, most=100) as hold:
                assert bodies(hold.held) == [b"a", b"b", b"c"]
                assert [held.tag for held in hold.held] == [1, 2, 3]
                first = hold.held[0].message
                assert (first.exchange, first.routing_key) == ("", PARKED)
                assert first.headers["x-parked-reason"] == "reason of a"
                assert first.headers["x-event-id"] == "a"
                assert admin.ready(PARKED) == 0
            assert admin.ready(PARKED) == 3

    def test_at_most_so_many_of_the_oldest_are_held(self, admin, bus):
        park(bus, "a", "b", "c")
        with admin.hold(PARKED, most=2) as hold:
            assert bodies(hold.held) == [b"a", b"b"]
            assert admin.ready(PARKED) == 1
        with admin.hold(PARKED, most=9) as hold:
            assert bodies(hold.held) == [b"a", b"b", b"c"]

    def test_an_empty_queue_holds_nothing_at_once(self, admin, bus):
        with admin.hold(PARKED, most=10) as hold:
            assert list(hold.held) == []
            hold.remove([])
            assert list(hold.pass_on([])) == []

    def test_many_messages_come_back_in_order(self, admin, bus):
        names = [f"{number:04}" for number in range(1_000)]
        park(bus, *names)
        with admin.hold(PARKED, most=10_000) as hold:
            assert bodies(hold.held) == [name.encode() for name in names]
            hold.remove(hold.held[0:1_000:2])
        with admin.hold(PARKED, most=10_000) as hold:
            assert bodies(hold.held) == [name.encode() for name in names[1::2]]

    def test_what_is_removed_is_gone_and_the_rest_keeps_its_order(self, admin, bus):
        park(bus, "a", "b", "c", "d")
        with admin.hold(PARKED, most=10) as hold:
            hold.remove([hold.held[2], hold.held[0]])
            hold.remove([hold.held[0]])
        park(bus, "e")
        with admin.hold(PARKED, most=10) as hold:
            assert bodies(hold.held) == [b"b", b"d", b"e"]

    def test_what_is_passed_on_arrives_as_told_and_is_gone(self, admin, bus):
        park(bus, "a", "b")
        with admin.hold(PARKED, most=10) as hold:
            assert list(hold.pass_on([(hold.held[1], [to_step(b"1"), to_step(b"2")])])) == [""]
        assert admin.ready(PARKED) == 1
        with admin.hold(STEP, most=10) as hold:
            assert [held.message for held in hold.held] == [to_step(b"1"), to_step(b"2")]

    def test_what_cannot_be_passed_on_stays_and_says_why_and_harms_no_other(self, admin, bus):
        park(bus, "a", "b", "c")
        with admin.hold(PARKED, most=10) as hold:
            nowhere = Message(b"x", routing_key="no-such-queue")
            faults = hold.pass_on(
                [(hold.held[0], [to_step(b"1")]), (hold.held[1], [to_step(b"2"), nowhere]), (hold.held[2], [])]
            )
            assert [bool(fault) for fault in faults] == [False, True, False]
            assert "no-such-queue" in faults[1]
        with admin.hold(PARKED, most=10) as hold:
            assert bodies(hold.held) == [b"b"]

    def test_passing_on_to_the_same_queue_ends(self, admin, bus):
        park(bus, "a", "b")
        with admin.hold(PARKED, most=10) as hold:
            hold.pass_on([(held, [Message(b"again", routing_key=PARKED)]) for held in hold.held])
            assert len(hold.held) == 2
        assert admin.ready(PARKED) == 2

    def test_an_unrouted_message_says_where_it_wanted_to_go_and_can_go_there(self, admin, bus):
        event = CloudEvent({"type": "org.example.unheard-of", "source": "/test", "id": "1"}, {"a": 1})
        bus.publish([event])
        with admin.hold(UNROUTED, most=10) as hold:
            (held,) = hold.held
            assert (held.message.exchange, held.message.routing_key) == ("cvmfs", "org.example.unheard-of")
            assert (held.message.content_type, held.message.message_id) == ("application/cloudevents+json", "1")
            assert list(hold.pass_on([(held, [held.message])])) == [""]
        assert admin.ready(UNROUTED) == 1

    def test_two_operators_never_have_the_same_message(self, admin, bus):
        park(bus, "a", "b")
        with admin.hold(PARKED, most=1) as first, admin.hold(PARKED, most=10) as second:
            assert bodies(first.held) == [b"a"]
            assert bodies(second.held) == [b"b"]
        with admin.hold(PARKED, most=10) as hold:
            assert sorted(bodies(hold.held)) == [b"a", b"b"]

    def test_a_broken_connection_gives_everything_back_in_order_and_says_so(self, admin, bus, cut):
        park(bus, "a", "b", "c")
        with admin.hold(PARKED, most=10) as hold:
            hold.remove(hold.held[:1])
            cut()
            with pytest.raises(BrokerUnavailable):
                hold.remove(hold.held[1:])
            with pytest.raises(BrokerUnavailable):
                hold.pass_on([(hold.held[1], [to_step(b"1")])])
        assert admin.ready(STEP) == 0
        with admin.hold(PARKED, most=10) as hold:
            assert bodies(hold.held) == [b"b", b"c"]

    def test_an_error_in_the_middle_gives_everything_back(self, admin, bus):
        park(bus, "a", "b")
        with pytest.raises(KeyboardInterrupt), admin.hold(PARKED, most=10):
            raise KeyboardInterrupt
        assert admin.ready(PARKED) == 2

    def test_a_queue_that_is_not_there_cannot_be_held(self, admin):
        with pytest.raises(BrokerUnavailable, match="no-such-queue"), admin.hold("no-such-queue", most=1):
            pass

    def test_a_broker_that_does_not_answer_says_so(self, broken_admin):
        with pytest.raises(BrokerUnavailable):
            broken_admin.ready(PARKED)
        with pytest.raises(BrokerUnavailable), broken_admin.hold(PARKED, most=1):
            pass
