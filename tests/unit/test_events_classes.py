from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from cloudevents.http import CloudEvent, from_json
from pydantic import ValidationError

from events import (
    EVENT_CLASSES,
    PATHS_LIMIT,
    TYPE_PREFIX,
    EventError,
    RepositoryChanged,
    RepositoryPublished,
    RepositoryRefused,
    RepositoryRequested,
    UnknownTypeError,
    UploadRefused,
    event_class,
    read_event,
    traceparent_of,
)

SAMPLES = Path(__file__).parents[2] / "events" / "samples"
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUEST = {"repository": "alice.infn.it", "username": "alice", "subject": "8f3c-2c1e"}


def requested(data=REQUEST, **attributes):
    """A request as it arrives; an attribute given as None is left out."""
    given = {"id": "1", "source": "/dashboard", "type": RepositoryRequested.TYPE, "specversion": "1.0", **attributes}
    event = CloudEvent({"id": "", "source": "", "type": "", "specversion": "1.0"}, data)
    for name in ("id", "source", "type", "specversion"):
        del event[name]
    for name, value in given.items():
        if value is not None:
            event[name] = value
    return event


def test_a_cloudevent_says_what_who_when_and_about_which_repository():
    event = RepositoryRequested(**REQUEST).to_cloudevent(source="/dashboard", time=NOON, traceparent=TRACE)
    attributes = dict(event.get_attributes())
    assert attributes == {
        "specversion": "1.0",
        "type": "it.infn.datacloud.cvmfs.repository.requested",
        "source": "/dashboard",
        "id": "alice.infn.it/requested/8f3c-2c1e",
        "subject": "alice.infn.it",
        "time": "2026-11-23T12:00:00Z",
        "datacontenttype": "application/json",
        "traceparent": TRACE,
    }
    assert event.get_data() == {**REQUEST, "group": None, "issuer": "", "reply_queue": None}


def test_the_time_is_written_in_utc_wherever_it_was_read():
    rome = timezone(timedelta(hours=1))
    event = RepositoryChanged(repository="a.b", cause="x").to_cloudevent(source="/f", time=NOON.astimezone(rome))
    assert event["time"] == "2026-11-23T12:00:00Z"


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(EventError, match="time"):
        RepositoryChanged(repository="a.b", cause="x").to_cloudevent(source="/f", time=NOON.replace(tzinfo=None))


def test_no_traceparent_no_attribute():
    assert "traceparent" not in RepositoryRequested(**REQUEST).to_cloudevent(source="/f", time=NOON)


@pytest.mark.parametrize(
    ("event", "event_id"),
    [
        pytest.param(
            RepositoryChanged(repository="a.b", cause="x y/\n€"), "a.b/changed/x%20y/%0A%E2%82%AC", id="odd cause"
        ),
        pytest.param(
            RepositoryPublished(
                repository="a.b", revision=17, root_hash="0" * 40, published_at=1, changes=0, url="http://h/a.b"
            ),
            "a.b@17",
            id="revision",
        ),
        pytest.param(
            RepositoryRefused(repository="a.b", username="u", subject="s", code="no", reason="No."),
            "a.b/refused/s",
            id="refusal",
        ),
        pytest.param(
            UploadRefused(repository="a.b", bucket="aaa", key="cvmfs/a\tb", etag="e-2", code="no", reason="No."),
            "a.b/refused/aaa/cvmfs/a%09b/e-2",
            id="key with a control character",
        ),
    ],
)
def test_the_id_says_what_happened_in_printable_ascii(event, event_id):
    assert event.id == event_id
    assert event.to_cloudevent(source="/f", time=NOON)["id"] == event_id


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(REQUEST, id="decoded"),
        pytest.param(json.dumps(REQUEST), id="text"),
        pytest.param(json.dumps(REQUEST).encode(), id="bytes"),
    ],
)
def test_data_is_read_decoded_or_not(data):
    assert RepositoryRequested.from_cloudevent(requested(data)) == RepositoryRequested(**REQUEST)


def test_a_subject_that_is_the_repository_is_fine():
    assert read_event(requested(subject="alice.infn.it")) == RepositoryRequested(**REQUEST)


@pytest.mark.parametrize(
    ("event", "faults"),
    [
        pytest.param(requested(id=None), ["id"], id="no id"),
        pytest.param(requested(id=""), ["id"], id="empty id"),
        pytest.param(requested(source=None), ["source"], id="no source"),
        pytest.param(requested(source="/a\nb"), ["source"], id="source that no header can carry"),
        pytest.param(requested(source="/" + "a" * 2048), ["source"], id="source too long"),
        pytest.param(requested(specversion="0.3"), ["specversion"], id="other version of CloudEvents"),
        pytest.param(requested(type="it.infn.datacloud.cvmfs.upload.refused"), ["type"], id="another type"),
        pytest.param(requested(subject="bob.infn.it"), ["subject"], id="subject is another repository"),
        pytest.param(requested(None), ["data"], id="no data"),
        pytest.param(requested([REQUEST]), ["data"], id="data is a list"),
        pytest.param(requested("{"), ["data"], id="data is broken JSON"),
        pytest.param(requested("[" * 100_000), ["data"], id="data is nested deeper than any reader goes"),
        pytest.param(requested(b"\xff"), ["data"], id="data is not UTF-8"),
        pytest.param(
            requested({}), ["data.repository", "data.username", "data.subject"], id="every missing field is named"
        ),
        pytest.param(requested({**REQUEST, "repository": "alice"}), ["data.repository"], id="no domain"),
        pytest.param(requested({**REQUEST, "repository": "a.it\n"}), ["data.repository"], id="line break in a name"),
        pytest.param(requested({**REQUEST, "repository": "a." + "b" * 60}), ["data.repository"], id="name too long"),
        pytest.param(requested({**REQUEST, "subject": "a/../b"}), ["data.subject"], id="subject climbs in the vault"),
        pytest.param(requested({**REQUEST, "subject": "a%2fb"}), ["data.subject"], id="subject hides a slash"),
        pytest.param(requested({**REQUEST, "subject": ".."}), ["data.subject"], id="subject is two dots"),
        pytest.param(requested({**REQUEST, "group": "a/b"}), ["data.group"], id="group climbs in the vault"),
        pytest.param(requested({**REQUEST, "username": "a,b"}), ["data.username"], id="comma in a name"),
        pytest.param(requested({**REQUEST, "username": 5}), ["data.username"], id="number for text"),
        pytest.param(requested({**REQUEST, "username": "\ud800"}), ["data.username"], id="half a character"),
        pytest.param(requested({**REQUEST, "issuer": "a b"}), ["data.issuer"], id="blank in a URL"),
        pytest.param(
            requested({**REQUEST, "reply_queue": "fn.store-keys"}), ["data.reply_queue"], id="reply to a function"
        ),
        pytest.param(requested({**REQUEST, "reply_queue": "cvmfs"}), ["data.reply_queue"], id="reply to the requests"),
        pytest.param(
            requested({**REQUEST, "repository": "x"}, id=None, source=""),
            ["id", "source", "data.repository"],
            id="attributes and data together",
        ),
    ],
)
def test_every_fault_of_an_event_is_named(event, faults):
    with pytest.raises(EventError) as caught:
        RepositoryRequested.from_cloudevent(event)
    assert [fault.partition(":")[0] for fault in caught.value.faults] == faults
    assert str(caught.value) == "; ".join(caught.value.faults)


def test_making_an_event_breaks_the_same_rules_with_the_same_error():
    with pytest.raises(EventError, match=r"data\.repository"):
        RepositoryRequested(**{**REQUEST, "repository": "alice"})


def test_an_event_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        RepositoryRequested(**REQUEST).username = "bob"


def test_a_private_key_does_not_fit_into_any_event():
    sample = from_json((SAMPLES / "repository.keys-stored.json").read_bytes())
    data = sample.get_data()
    hidden = data["public_key"] + data["public_key"].replace("PUBLIC", "PRIVATE")
    for value in (hidden, data["public_key"].replace("PUBLIC", "RSA PRIVATE"), "-----BEGIN PRIVATE KEY-----"):
        for name in ("public_key", "certificate"):
            with pytest.raises(EventError, match=f"data.{name}"):
                event_class(sample["type"]).model_validate({**data, name: value})


def test_a_published_event_names_a_hundred_paths_and_not_one_more():
    fields = {
        "repository": "a.b",
        "revision": 1,
        "root_hash": "0" * 40,
        "published_at": 1,
        "changes": 500,
        "url": "http://h/a.b",
    }
    assert len(RepositoryPublished(**fields, paths=["/p"] * PATHS_LIMIT).paths) == PATHS_LIMIT
    with pytest.raises(EventError, match="paths"):
        RepositoryPublished(**fields, paths=["/p"] * (PATHS_LIMIT + 1))


def test_an_event_of_any_known_type_is_read_as_its_class():
    for type_name, known in EVENT_CLASSES.items():
        sample = from_json((SAMPLES / f"{type_name.removeprefix('it.infn.datacloud.cvmfs.')}.json").read_bytes())
        assert type(read_event(sample)) is known


@pytest.mark.parametrize("type_name", ["it.infn.datacloud.cvmfs.repository.sold", "", None, 5, ["x"]])
def test_an_unknown_type_is_refused_with_the_list_of_known_ones(type_name):
    with pytest.raises(UnknownTypeError) as caught:
        event_class(type_name)
    assert all(known.removeprefix(TYPE_PREFIX) in str(caught.value) for known in EVENT_CLASSES)


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        pytest.param(TRACE, TRACE, id="well formed"),
        pytest.param(None, None, id="absent"),
        pytest.param(TRACE.upper(), None, id="upper case"),
        pytest.param(TRACE + "\n", None, id="line break"),
        pytest.param(5, None, id="a number"),
    ],
)
def test_a_malformed_trace_context_is_dropped_rather_than_passed_on(value, trace):
    assert traceparent_of(requested(traceparent=value)) == trace
