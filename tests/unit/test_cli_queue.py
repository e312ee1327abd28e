"""`queue` and `problems`: what an operator sees and does, through the environment and the file of a running stack."""

from __future__ import annotations

import base64
import json
from datetime import timedelta

import pytest

from events import ReconciliationRequested
from functions import wiring
from functions.adapters.memory import MemoryBlobStore, MemoryEventBus
from functions.adapters.memory_queues import MemoryQueueAdmin
from functions.errors import BrokerUnavailable, UploadRefused
from functions.local.runtime.manifests import Manifests, installed_folder
from functions.publishing.records import Problem, RepositoryRecord
from gateway.cli import opened, parked
from tests.cli_repository import run

STEP = "store-keys"
ALICE = b'{"repository": "alice.infn.it"}'
BOB = b'{"repository": "bob.infn.it"}'
SETTINGS = {
    "S3_ENDPOINT": "http://127.0.0.1:1",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "very-secret",
    "REPOSITORY_URL": "http://127.0.0.1:1/cvmfs",
    "AMQP_URL": "amqp://user:very-secret@127.0.0.1:1",
}


class Operator:
    """Somebody at a terminal, with the queues of the service."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.urls: list[str] = []
        self.age = timedelta(0)
        self.bus = MemoryEventBus(clock=lambda: wiring.utc_now() - self.age)
        for step, source in Manifests.load(installed_folder()).sources.items():
            for queue in (source.queue, f"fn.{step}.retry", f"fn.{step}.parked"):
                self.bus.declare(queue)
        self.admin = MemoryQueueAdmin(self.bus)
        monkeypatch.setattr(wiring, "build_queues", self._build)

    def _build(self, url):
        self.urls.append(url.get_secret_value())
        return self.admin

    def park(
        self, body: bytes = ALICE, reason: str = "no subject", *, age: timedelta = timedelta(0), **headers
    ) -> None:
        self.age = age
        self.bus.park(STEP, body, reason=reason, headers=headers)

    def run(self, *arguments, environment=SETTINGS):
        return run("queue", *arguments, environment=environment)

    def json(self, *arguments):
        result = self.run(*arguments, "--json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    @property
    def parked(self) -> list[bytes]:
        return [message.body for message in self.bus.parked(STEP)]


@pytest.fixture
def operator(monkeypatch):
    return Operator(monkeypatch)


def test_every_step_is_listed_with_what_waits_and_is_parked(operator):
    operator.park(age=timedelta(hours=3))
    operator.park(age=timedelta(minutes=5))
    operator.bus.reply("fn.store-keys", b"1")
    operator.bus.reply("fn.store-keys.retry", b"2")
    result = operator.run("list")
    assert result.exit_code == 0, result.stderr
    rows = {line.split()[0]: line.split(maxsplit=4) for line in result.stdout.splitlines()}
    assert rows["store-keys"] == ["store-keys", "1", "1", "2", "3 hours ago"]
    assert rows["legacy-requests"] == ["legacy-requests", "0", "0", "0"]
    assert rows["unrouted"] == ["unrouted", "0"]
    assert operator.parked == [ALICE, ALICE]


def test_the_same_as_json(operator):
    operator.park(age=timedelta(hours=3))
    listed = operator.json("list")
    (step,) = [step for step in listed["steps"] if step["step"] == STEP]
    assert (step["ready"], step["retry"], step["parked"]) == (0, 0, 1)
    assert step["oldest_parked_at"] == operator.bus.parked(STEP)[0].headers["x-parked-at"]
    assert listed["unrouted"] == {"parked": 0, "oldest_parked_at": None}


def test_queues_that_are_not_installed_are_told(operator):
    del operator.bus._queues["fn.store-keys.retry"]
    (line,) = [line for line in operator.run("list").stdout.splitlines() if line.startswith(STEP)]
    assert line.split() == [STEP, "0", "missing", "0"]


def test_parked_messages_are_shown_oldest_first_and_stay(operator):
    operator.park(ALICE, "no subject", age=timedelta(days=2))
    operator.park(BOB, "taken\x1b[31m")
    result = operator.run("show", STEP)
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()[1:]
    assert first.split(maxsplit=4)[1:] == ["2", "days", "ago", first.split(maxsplit=4)[4]]
    assert first.split()[4:] == ["alice.infn.it", "31", "bytes", "no", "subject"]
    assert "bob.infn.it" in second
    assert "\x1b" not in result.stdout
    assert operator.parked == [ALICE, BOB]


def test_bodies_are_shown_on_request_and_always_to_programs(operator):
    operator.park(ALICE)
    operator.park(b"\xff\x00")
    shown = operator.run("show", STEP, "--body").stdout
    assert '      "repository": "alice.infn.it"\n' in shown
    assert f"    base64: {base64.b64encode(bytes([255, 0])).decode()}\n" in shown
    first, second = operator.json("show", STEP)
    assert (first["body"], first["repositories"], first["reason"]) == (ALICE.decode(), ["alice.infn.it"], "no subject")
    assert (base64.b64decode(second["body_base64"]), second["repositories"]) == (b"\xff\x00", [])
    assert first["headers"]["x-parked-step"] == STEP


SELECTIONS = [
    pytest.param((), {ALICE, BOB, b"old"}, id="all"),
    pytest.param(("--older-than", "2d"), {b"old"}, id="age"),
    pytest.param(("--repository", "bob.infn.it"), {BOB}, id="repository"),
    pytest.param(("--reason", "VAULT"), {ALICE, b"old"}, id="reason"),
    pytest.param(("--reason", "vault", "--repository", "alice.infn.it"), {ALICE}, id="two at once"),
    pytest.param(("--repository", "nobody.infn.it"), set(), id="nothing"),
]


@pytest.fixture
def three(operator):
    operator.park(b"old", "Vault said no", age=timedelta(days=3))
    operator.park(ALICE, "vault is gone")
    operator.park(BOB, "malformed")
    return operator


@pytest.mark.parametrize(("options", "meant"), SELECTIONS)
def test_what_is_meant_is_redriven_and_the_rest_stays_in_order(three, options, meant):
    result = three.run("redrive", STEP, *options)
    assert result.exit_code == 0, result.stderr
    assert three.parked == [body for body in (b"old", ALICE, BOB) if body not in meant]
    assert {message.body for message in three.bus.messages("fn.store-keys")} == meant
    number = f"{len(meant)} message{'s' if len(meant) > 1 else ''}"
    assert result.stdout == (
        f"Redriven {number} of {STEP}.\n" if meant else f"Nothing of {STEP} is parked that fits.\n"
    )


@pytest.mark.parametrize(("options", "meant"), SELECTIONS)
def test_what_is_meant_is_dropped_after_it_was_written_out(three, options, meant):
    dropped = three.json("drop", STEP, *options)
    assert three.parked == [body for body in (b"old", ALICE, BOB) if body not in meant]
    assert {message["body"].encode() for message in dropped["dropped"]} == meant


def test_a_message_is_chosen_by_its_id(three):
    first, second, third = three.json("show", STEP)
    assert [message["id"] for message in three.json("show", STEP, second["id"])] == [second["id"]]
    assert three.run("redrive", STEP, third["id"], first["id"]).exit_code == 0
    assert three.parked == [ALICE]
    unknown = three.run("drop", STEP, first["id"])
    assert unknown.exit_code == 1
    assert f"has no message {first['id']}" in unknown.stderr
    assert three.parked == [ALICE]


def test_dropped_requests_are_written_out_and_ask_for_nothing(three):
    result = three.run("drop", STEP, "-y")
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["dropping"] * 3
    assert result.stdout == f"Dropped 3 messages of {STEP}.\n"
    assert result.stderr.count("dropping ") == 3
    assert three.bus.published == []


def test_repositories_that_miss_something_by_a_drop_are_held_against_their_buckets(operator, monkeypatch):
    monkeypatch.setattr(wiring, "open_bus", lambda *_, **__: operator.bus)
    for body in (ALICE, BOB, ALICE, b"nonsense"):
        operator.bus.park("publish-transaction", body, reason="too old", headers={})
    dropped = operator.json("drop", "publish-transaction", "--yes")
    assert dropped["reconciling"] == ["alice.infn.it", "bob.infn.it"]
    assert operator.bus.parked("publish-transaction") == []
    asked = [(event["type"], event["subject"], event.data["again"]) for event in operator.bus.published]
    assert asked == [
        (ReconciliationRequested.TYPE, "alice.infn.it", False),
        (ReconciliationRequested.TYPE, "bob.infn.it", False),
    ]


def test_nothing_is_dropped_if_nobody_can_be_asked(operator, monkeypatch):
    def down(*_, **__):
        raise BrokerUnavailable("RabbitMQ is away.")

    monkeypatch.setattr(wiring, "open_bus", down)
    operator.bus.park("publish-transaction", ALICE, reason="too old", headers={})
    assert operator.run("drop", "publish-transaction", "--yes").exit_code == 3
    assert [message.body for message in operator.bus.parked("publish-transaction")] == [ALICE]


def test_a_person_is_asked_before_anything_is_dropped(three, monkeypatch):
    monkeypatch.setattr(opened, "_is_asked", lambda: True)
    refused = three.run("drop", STEP)  # the answer is the end of the input
    assert refused.exit_code == 1
    assert "Drop 3 messages of store-keys for good?" in refused.stderr
    assert three.parked == [b"old", ALICE, BOB]
    assert three.run("drop", STEP, "--yes").exit_code == 0
    assert three.parked == []


def test_what_cannot_be_redriven_stays_and_is_told(operator):
    operator.park(b"1", **{"x-parked-queue": "changes.gone.infn.it"})
    operator.park(ALICE)
    result = operator.run("redrive", STEP)
    assert result.exit_code == 3
    assert "Redriven 1 message of store-keys.\n" in result.stdout
    assert "stays: queue changes.gone.infn.it does not exist" in result.stdout
    assert operator.parked == [b"1"]


def test_unrouted_messages_are_shown_and_dropped_too(operator):
    operator.bus._bindings = {}
    with operator.bus.moved:
        operator.bus.send(commands_message())
    (shown,) = operator.json("show", "unrouted")
    assert (shown["exchange"], shown["routing_key"]) == ("cvmfs", "org.example.unheard-of")
    assert operator.run("redrive", "unrouted").exit_code == 0
    assert len(operator.bus.messages("cvmfs.unrouted")) == 1
    assert operator.run("drop", "unrouted").exit_code == 0
    assert operator.bus.messages("cvmfs.unrouted") == []


def commands_message():
    from functions.adapters.memory import Message

    return Message(b"{}", exchange="cvmfs", routing_key="org.example.unheard-of")


def test_only_the_oldest_are_looked_at_when_there_are_very_many(three, monkeypatch):
    monkeypatch.setattr(parked, "MOST", 2)
    result = three.run("redrive", STEP)
    assert "Looked at the oldest 2 of 3 messages" in result.stderr
    assert three.parked == [BOB]


def test_an_unknown_step_is_wrong_usage_and_the_steps_are_named(operator):
    result = operator.run("show", "store-key")
    assert result.exit_code == 2
    assert "legacy-replies" in result.stderr


def test_a_broker_that_is_down_is_told_without_its_password(tmp_path):
    result = run("queue", "list", environment=SETTINGS)
    assert result.exit_code == 3
    assert "very-secret" not in result.stderr


def test_the_running_stack_is_found_without_any_environment(operator, tmp_path):
    nothing = {"AMQP_URL": None}
    missing = operator.run("list", "--folder", tmp_path, environment=nothing)
    assert missing.exit_code == 1
    assert "AMQP_URL" in missing.stderr
    (tmp_path / "stack.json").write_text(json.dumps({"settings": SETTINGS | {"AMQP_URL": "amqp://of-the-stack"}}))
    assert operator.run("list", "--folder", tmp_path, environment=nothing).exit_code == 0
    assert operator.run("list", "--folder", tmp_path).exit_code == 0
    assert operator.urls == ["amqp://of-the-stack", SETTINGS["AMQP_URL"]]


# problems


@pytest.fixture
def state(monkeypatch):
    state = MemoryBlobStore()
    now = wiring.utc_now()
    record = RepositoryRecord(repository="alice.infn.it", bucket="alice", username="alice", subject="s", created_at=now)
    state.put(record.path, record.to_bytes())
    monkeypatch.setattr(wiring, "build_state", lambda settings: state)
    return state


def tell(state, key: str, age_s: int) -> None:
    problem = Problem.of(
        UploadRefused(f"{key!r} has an empty name", code="key-empty-segment"),
        repository="alice.infn.it",
        bucket="alice",
        key=key,
        etag="e",
        now=wiring.utc_now() - timedelta(seconds=age_s),
    )
    state.put(problem.path, problem.to_bytes())


def test_a_repository_without_problems_says_so(state):
    result = run("problems", "alice.infn.it", environment=SETTINGS)
    assert (result.exit_code, result.stdout) == (0, "Nothing is wrong with the uploads of alice.infn.it.\n")


def test_problems_are_listed_oldest_first_each_with_its_next_step(state):
    tell(state, "cvmfs/b//c", 1)
    tell(state, "cvmfs/a//c", 60)
    result = run("problems", "alice.infn.it", environment=SETTINGS)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert ["cvmfs/a//c: [key-empty-segment] 'cvmfs/a//c' has an empty name" in lines[0], "cvmfs/b//c" in lines[2]] == [
        True,
        True,
    ]
    assert lines[1] == "  Rename or replace the object; the next upload clears this problem."
    as_json = run("problems", "alice.infn.it", "--json", environment=SETTINGS)
    assert as_json.exit_code == 1
    assert [problem["key"] for problem in json.loads(as_json.stdout)] == ["cvmfs/a//c", "cvmfs/b//c"]


def test_an_unknown_repository_is_told(state):
    result = run("problems", "nobody.infn.it", environment=SETTINGS)
    assert result.exit_code == 1
    assert "there is no repository nobody.infn.it" in result.stderr
