"""Schemas, samples and README of the catalogue are held to the classes."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path

import pytest
from cloudevents.conversion import to_structured
from cloudevents.http import from_json
from jsonschema import Draft202012Validator

from events import (
    EVENT_CLASSES,
    TYPE_PREFIX,
    EventError,
    LegacyRequest,
    RepositoryRequested,
    parse_notification,
    read_event,
    reply_to_created,
    reply_to_refused,
    traceparent_of,
)
from events.schemas import FOLDER, schema_file, schema_text

ROOM = Path(__file__).parents[2] / "events"
SAMPLES = ROOM / "samples"
by_type = pytest.mark.parametrize("event_class", EVENT_CLASSES.values(), ids=lambda known: known.__name__)


def sample_of(event_class):
    return (SAMPLES / f"{event_class.TYPE.removeprefix(TYPE_PREFIX)}.json").read_bytes()


@by_type
def test_the_schema_file_is_what_the_class_says(event_class):
    assert schema_file(event_class).read_text() == schema_text(event_class), "run: python -m events.schemas"


@by_type
def test_the_schema_is_a_schema(event_class):
    Draft202012Validator.check_schema(json.loads(schema_text(event_class)))


def test_there_is_no_schema_without_a_class():
    assert set(FOLDER.glob("*.json")) == {schema_file(known) for known in EVENT_CLASSES.values()}


@by_type
def test_the_sample_is_what_the_class_sends(event_class):
    sample = sample_of(event_class)
    received = from_json(sample)
    event = event_class.from_cloudevent(received)
    sent = event.to_cloudevent(
        source=received["source"],
        time=datetime.fromisoformat(received["time"]),
        traceparent=traceparent_of(received),
    )
    assert json.loads(to_structured(sent)[1]) == json.loads(sample)


@by_type
def test_the_sample_satisfies_the_schema(event_class):
    Draft202012Validator(json.loads(schema_file(event_class).read_text())).validate(
        json.loads(sample_of(event_class))["data"]
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"repository": "alice"}, id="no domain"),
        pytest.param({"repository": "a" * 60 + ".it"}, id="name too long"),
        pytest.param({"subject": "a/b"}, id="slash in the subject"),
        pytest.param({"username": None}, id="null for text"),
        pytest.param({"group": ""}, id="empty group"),
        pytest.param({"reply_queue": "fn.store-keys"}, id="queue of a function"),
        pytest.param({"issuer": 5}, id="number for text"),
    ],
)
def test_schema_and_class_refuse_the_same(change):
    data = {**json.loads(sample_of(RepositoryRequested))["data"], **change}
    schema = Draft202012Validator(json.loads(schema_text(RepositoryRequested)))
    assert [error.path[0] for error in schema.iter_errors(data)] == list(change)
    with pytest.raises(EventError, match=rf"^data\.{next(iter(change))}"):
        RepositoryRequested.model_validate(data)


def test_the_sample_of_a_notification_is_one():
    (record,) = parse_notification((SAMPLES / "rgw-notification.json").read_bytes())
    assert (record.bucket, record.key) == ("exp", "cvmfs/a/b.txt")


def test_the_comma_separated_samples_tell_the_story_of_the_event_samples():
    request = LegacyRequest.parse((SAMPLES / "legacy-request.txt").read_bytes()).to_requested("infn.it")
    assert request == read_event(from_json(sample_of(RepositoryRequested)))
    for name, reply in (("created", reply_to_created), ("refused", reply_to_refused)):
        event = read_event(from_json((SAMPLES / f"repository.{name}.json").read_bytes()))
        assert (SAMPLES / f"legacy-reply-{name}.txt").read_bytes() == reply(event) + b"\n"


def test_the_table_in_the_readme_lists_every_type_with_its_class_and_id():
    rows = re.findall(r"^\| `([a-z.-]+)` \| `(\w+)` \| `([^`]+)` \|", (ROOM / "README.md").read_text(), re.MULTILINE)
    assert [(TYPE_PREFIX + suffix, name) for suffix, name, _ in rows] == [
        (known.TYPE, known.__name__) for known in EVENT_CLASSES.values()
    ]
    for suffix, _, id_rule in rows:
        event_id = from_json((SAMPLES / f"{suffix}.json").read_bytes())["id"]
        assert re.fullmatch(re.sub(r"<[a-z]+>", ".+", re.escape(id_rule)), event_id), (event_id, id_rule)
