from __future__ import annotations

import json
import string
from datetime import UTC, datetime

from cloudevents.conversion import to_structured
from cloudevents.http import from_http, from_json
from hypothesis import assume, given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from events import (
    EventError,
    LegacyRequest,
    RepositoryPublished,
    RepositoryRefused,
    RepositoryRequested,
    read_event,
    reply_to_refused,
    valid_fqrn,
)
from events.rgw_notification import Record, parse_notification
from events.schemas import schema_text
from tests import event_strategies as strategies

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
times = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=st.timezones())  # noqa: DTZ001
traces = st.none() | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", fullmatch=True)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3),
    max_leaves=8,
)


@given(strategies.any_event(), times, traces)
def test_an_event_survives_structured_json(event, time, trace):
    sent = event.to_cloudevent(source="/test", time=time, traceparent=trace)
    headers, body = to_structured(sent)
    received = from_json(body)
    assert read_event(received) == event
    assert received.get("traceparent") == trace
    assert headers["content-type"] == "application/cloudevents+json"


@given(strategies.any_event(), times)
def test_a_structured_message_survives_reading_and_sending_again(event, time):
    first = bytes(to_structured(event.to_cloudevent(source="/test", time=time))[1])
    again = read_event(from_json(first)).to_cloudevent(source="/test", time=time)
    assert bytes(to_structured(again)[1]) == first


@given(strategies.any_event(), times)
def test_an_event_survives_the_binary_mode_in_which_the_event_source_delivers(event, time):
    sent = event.to_cloudevent(source="/test", time=time)
    headers = {f"ce-{name}": sent[name] for name in sent if name != "datacontenttype"}
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    received = from_http({**headers, "content-type": "application/json"}, json.dumps(sent.get_data()).encode())
    assert read_event(received) == event


@given(strategies.any_event())
def test_the_data_of_every_event_is_what_its_schema_says(event):
    Draft202012Validator(json.loads(schema_text(type(event)))).validate(event.model_dump(mode="json"))


@given(strategies.any_event(), st.dictionaries(st.text(st.characters(codec="ascii"), max_size=9), json_values))
def test_fields_that_a_newer_sender_adds_are_ignored(event, more):
    assert type(event).model_validate({**more, **event.model_dump(mode="json")}) == event


@given(st.binary(max_size=12), st.binary(max_size=12))
def test_paths_that_are_not_utf8_are_published_readably(head, tail):
    path = (b"/" + head + b"\xff" + tail).decode("utf-8", "surrogateescape")
    event = RepositoryPublished(
        repository="a.b", revision=1, root_hash="0" * 40, published_at=1, changes=1, paths=[path], url="http://h/a.b"
    )
    text = to_structured(event.to_cloudevent(source="/test", time=NOON))[1].decode("utf-8")
    assert json.loads(text)["data"]["paths"] == list(event.paths)
    assert "\ufffd" in event.paths[0]
    event.paths[0].encode("utf-8")


@given(st.one_of(json_values, st.binary(max_size=60), st.dictionaries(st.just("Records"), st.lists(json_values))))
def test_no_message_whatever_breaks_the_notification_parser(message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    records = _outcome(lambda: parse_notification(body))
    if isinstance(records, EventError):
        assert records.faults
    else:
        assert all(isinstance(record, (Record, EventError)) for record in records)


@given(st.integers(0, 2**32 - 1), st.integers(0, 999_999_999))
def test_the_sequencer_is_read_as_radosgw_writes_it(seconds, nanoseconds):
    written = (seconds.to_bytes(4, "little") + nanoseconds.to_bytes(4, "little")).hex().upper()
    record = {
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-11-23T03:26:25.297526Z",
        "s3": {"bucket": {"name": "exp"}, "object": {"key": "cvmfs/a", "sequencer": written}},
    }
    (read,) = parse_notification({"Records": [record]})
    assert read.sequencer == (seconds, nanoseconds)


@given(st.binary(max_size=80))
def test_no_bytes_whatever_break_the_comma_separated_parser(body):
    outcome = _outcome(lambda: LegacyRequest.parse(body).to_requested("infn.it"))
    assert isinstance(outcome, RepositoryRequested) or outcome.faults


@given(strategies.events_of(RepositoryRequested), st.booleans())
def test_what_fits_into_five_fields_is_read_as_it_was_written(event, personal):
    repository = f"{event.username}.infn.it" if personal else f"x.{event.repository}"
    assume(valid_fqrn(repository))
    body = f" {event.username},{event.subject} ,{repository},https://iam.example.org/,Y\r\n".encode()
    read = LegacyRequest.parse(body).to_requested("infn.it")
    assert (read.repository, read.username, read.subject) == (repository, event.username, event.subject)
    assert read.group == (None if repository == f"{event.username}.infn.it" else repository.split(".", maxsplit=1)[0])
    assert read.reply_queue == "cvmfs_reply"


@given(strategies.events_of(RepositoryRefused))
def test_every_reply_is_one_line_of_five_fields(event):
    fields = reply_to_refused(event).decode().split(",")
    assert fields[:4] == [event.username, event.subject, event.repository, "N"]
    assert len(fields) == 5
    assert not set(fields[4]) & set(string.whitespace.replace(" ", ""))


def _outcome(call):
    try:
        return call()
    except EventError as err:
        return err
