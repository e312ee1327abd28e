"""What owners ask from the command line: sent through the gateway, carried out by the functions, waited for."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from cloudevents.conversion import to_structured
from structlog.testing import capture_logs

from events import GarbageCollected, RenewalRequested, RepositoryDeleted, SettingsRequested, TagRequested, read_event
from functions import wiring
from functions.adapters.gateway_client import BATCH
from functions.errors import StoreUnavailable
from functions.publishing.records import RepositorySettings, Standing, load_record
from gateway.cli import opened, wishes
from tests.cli_repository import run
from tests.gateway_client import Gateway
from tests.unit.test_cli_status import SETTINGS
from tests.unit.test_lifecycle_stories import tags
from tests.world import World

FQRN = "alice.infn.it"


class Running:
    """A service behind its gateway, as the file of a stack describes it; it works until `busy` is set."""

    def __init__(self, folder, monkeypatch):
        self.world = World()
        self.world.repository()
        self.folder = folder
        self.busy = False
        self.gateway = Gateway(self.world)
        brokers = {("amqp://x", "cvmfs"): self.world.bus}
        (folder / "stack.json").write_text(json.dumps({"gateway_url": "http://gateway", "settings": SETTINGS}))
        monkeypatch.setattr(wiring, "open_gateway", lambda url: {"http://gateway": self.send}[url])
        monkeypatch.setattr(wiring, "open_bus", lambda url, exchange: brokers[url, exchange])
        monkeypatch.setattr(wiring, "build_state", lambda settings: self.world.state)
        monkeypatch.setattr(wiring, "cloud_of", lambda settings: self.world.cloud)
        monkeypatch.setattr(wishes, "POLL_S", 0)

    def send(self, events):
        body = json.dumps([json.loads(to_structured(event)[1]) for event in events]).encode()
        answer = self.gateway.raw(body, {"content-type": BATCH})
        assert answer.status_code == 202, answer.text
        if not self.busy:
            self.world.run_until_quiet()

    def run(self, *arguments, **options):
        return run(*arguments, "--folder", self.folder, **options)

    def did(self, *arguments):
        result = self.run(*arguments, "--wait")
        assert result.exit_code == 0, result.stderr
        return result.stdout

    @property
    def record(self):
        return load_record(self.world.state, FQRN)

    def tags(self):
        with self.world.reader() as snapshot:
            assert snapshot is not None

        return tags(self.world)


@pytest.fixture
def running(tmp_path, monkeypatch):
    with capture_logs():  # the functions run in this process, where the command's output is looked at
        running = Running(tmp_path, monkeypatch)
        yield running
        running.world.close()


def publish(world, path, body):
    world.upload(f"cvmfs{path}", body)
    world.run_until_quiet()


def test_a_repository_is_suspended_with_a_reason_and_resumed(running):
    assert running.did("repository", "suspend", FQRN, "-m", "moving house") == f"{FQRN} is suspended.\n"
    assert (running.record.standing, running.record.suspended_for) == (Standing.SUSPENDED, "moving house")
    assert running.did("repository", "resume", FQRN) == f"{FQRN} follows its bucket again.\n"
    assert running.record.standing is Standing.ACTIVE


def test_the_status_says_why_a_repository_rests(running, monkeypatch):
    store = running.world.store_of(FQRN)
    stack = json.loads((running.folder / "stack.json").read_text())
    (running.folder / "stack.json").write_text(json.dumps({**stack, "repository_url": "http://x/cvmfs"}))
    fetch = lambda path: None if (blob := store.get(path)) is None else blob.body  # noqa: E731
    monkeypatch.setattr(wiring, "open_fetch", lambda _address: (fetch, store.has))
    monkeypatch.setattr(wiring, "utc_now", running.world.clock)
    assert json.loads(running.run("status", FQRN, "--json").stdout)["standing"] == "active"
    assert "standing" not in running.run("status", FQRN).stdout
    running.did("repository", "suspend", FQRN, "-m", "moving house")
    assert "standing    suspended: moving house\n" in running.run("status", FQRN).stdout


def test_settings_are_written_in_json(running):
    running.did("repository", "set", FQRN, "unpack_archives=false", "files_limit=1000", "keep_revisions_s=null")
    assert running.record.settings == RepositorySettings(unpack_archives=False, files_limit=1000)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("files_limit", "write files_limit=VALUE"),
        ("files_limit=many", "write files_limit=VALUE"),
        ("=1", "the name of a setting is missing"),
        ("x=[1]", "data.changes"),
    ],
)
def test_what_is_no_assignment_is_wrong_usage(running, text, told):
    result = running.run("repository", "set", FQRN, text)
    assert (result.exit_code, told in result.stderr) == (2, True)
    assert not [event for event in running.world.bus.published if event["type"] == SettingsRequested.TYPE]


def test_a_refused_wish_ends_with_its_reason_and_the_next_step(running):
    result = running.run("repository", "set", FQRN, "colour=1", "--wait")
    assert result.exit_code == 1
    assert "There is no setting colour" in result.stderr
    assert "nothing was changed" in result.stderr


def test_a_wish_that_is_not_waited_for_is_accepted(running):
    running.busy = True
    result = running.run("repository", "suspend", FQRN, "--json")
    (told,) = json.loads(result.stdout)
    assert (told["status"], told["type"]) == ("accepted", "it.infn.datacloud.cvmfs.suspension.requested")
    assert running.record.standing is Standing.ACTIVE
    running.world.run_until_quiet()
    assert told["id"] in running.record.handled


def test_a_wish_that_takes_too_long_is_kept_and_the_command_says_so(running):
    running.busy = True
    result = running.run("repository", "suspend", FQRN, "--wait", "--timeout", "0")
    assert (result.exit_code, "It is kept" in result.stderr) == (3, True)


def test_tags_are_added_moved_and_removed(running):
    publish(running.world, "/a", b"1")
    running.did("tag", FQRN, "-a", "v1", "-m", "first")
    publish(running.world, "/a", b"2")
    assert running.tags()["v1"] == 2
    running.did("tag", FQRN, "--move", "v1", "-h", "1")
    assert running.tags()["v1"] == 1
    running.did("tag", FQRN, "-a", "v2")
    assert json.loads(running.did("tag", FQRN, "-r", "v1", "-r", "v2", "--json"))[1]["status"] == "done"
    assert not {"v1", "v2"} & running.tags().keys()


@pytest.mark.parametrize("options", [(), ("-a", "v1", "-r", "v2"), ("-a", "no spaces")])
def test_one_thing_at_a_time_is_done_to_tags_and_their_names_are_checked_at_once(running, options):
    assert running.run("tag", FQRN, *options).exit_code == 2
    assert not [event for event in running.world.bus.published if event["type"] == TagRequested.TYPE]


def test_a_rollback_shows_in_the_status_until_it_is_released(running, monkeypatch):
    publish(running.world, "/a", b"1")
    publish(running.world, "/a", b"2")
    running.did("rollback", FQRN)
    with running.world.reader() as snapshot:
        assert snapshot.read("/a") == b"1"
    store = running.world.store_of(FQRN)

    def opened_at(_address):
        return (lambda path: None if (blob := store.get(path)) is None else blob.body), store.has

    monkeypatch.setattr(wiring, "open_fetch", opened_at)
    monkeypatch.setattr(wiring, "utc_now", running.world.clock)
    told = running.run("status", FQRN, "--url", "http://x/cvmfs").stdout
    assert "rolled back to revision 2; what was uploaded before 2026-03-01 " in told
    told = running.gateway.get(f"/repositories/{FQRN}").json()
    assert (told["rolled_back"]["to_revision"], told["suspended_for"]) == (2, None)
    shown = json.loads(running.run("status", FQRN, "--url", "http://x/cvmfs", "--json").stdout)
    assert shown["rolled_back"]["to_revision"] == 2
    running.did("rollback", FQRN, "--release")
    assert "rolled back" not in running.run("status", FQRN, "--url", "http://x/cvmfs").stdout
    assert running.run("rollback", FQRN, "--release", "-t", "v1").exit_code == 2


def test_a_whitelist_is_signed_again(running):
    running.world.clock.now += timedelta(days=2)
    assert "signed again" in running.did("resign", FQRN)


def test_garbage_is_found_out_first_and_then_collected(running):
    world = running.world
    for body in (b"1", b"2", b"3"):
        publish(world, "/a", body)
    world.clock.now += timedelta(days=20)
    publish(world, "/b", b"now")
    before = len(list(world.store_of(FQRN).list("data/")))
    result = running.run("gc", FQRN, "--dry-run", "--json")
    would = json.loads(result.stdout)["deleted_objects"]
    assert would > 0
    assert running.run("gc", FQRN, "--dry-run").stdout.startswith(f"Would delete {would} objects")
    assert len(list(world.store_of(FQRN).list("data/"))) == before
    running.did("gc", FQRN)
    (fact,) = world.told(GarbageCollected)
    assert fact.objects >= would


@pytest.mark.parametrize("answer", ["n", "y"])
def test_a_person_is_asked_before_anything_is_destroyed(running, monkeypatch, answer):
    monkeypatch.setattr(opened, "_is_asked", lambda: True)
    monkeypatch.setattr(opened.typer, "confirm", lambda question, err: "DELETE alice" in question and answer == "y")
    result = running.run("repository", "delete", FQRN)
    assert result.exit_code == (1 if answer == "n" else 0)
    assert len(running.world.told(RepositoryDeleted)) == (0 if answer == "n" else 1)


def test_a_repository_is_deleted_with_or_without_its_keys(running):
    running.did("repository", "delete", FQRN, "--yes")
    assert running.record.standing is Standing.DELETED
    assert FQRN in running.world.keys.owners
    running.did("repository", "delete", FQRN, "--yes", "--destroy-keys")
    assert FQRN not in running.world.keys.owners


def test_without_a_stack_the_broker_of_the_environment_is_asked_with_the_same_checks(running, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    command = ("repository", "suspend", FQRN, "--folder", elsewhere)
    result = run(*command, environment={"AMQP_URL": "amqp://x"})
    assert result.exit_code == 0, result.stderr
    wish = read_event(running.world.bus.published[-1])
    assert (wish.repository, running.world.bus.published[-1]["source"]) == (FQRN, "/cvmfs-cloud/cli")
    waiting = run(*command, "--wait", environment={"AMQP_URL": "amqp://x"})
    assert (waiting.exit_code, "settings in the environment" in waiting.stderr) == (2, True)


def test_without_any_service_the_command_says_how_to_name_one(tmp_path):
    result = run("repository", "suspend", FQRN, "--folder", tmp_path, environment={"AMQP_URL": None})
    assert (result.exit_code, "--gateway" in result.stderr) == (1, True)


def test_a_repository_nobody_has_is_told_at_once(running):
    result = running.run("repository", "suspend", "nobody.infn.it", "--wait")
    assert (result.exit_code, "there is no repository nobody.infn.it" in result.stderr) == (1, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("tag", "-a", "v1"),
        ("rollback", "-y"),
        ("resign",),
        ("gc", "-y"),
        ("repository", "suspend"),
        ("repository", "delete", "-y"),
        ("sync",),
    ],
    ids=" ".join,
)
def test_of_a_repository_that_nobody_knows_nothing_is_asked(running, arguments):
    words = arguments[:2] if arguments[0] == "repository" else arguments[:1]
    result = running.run(*words, "nobody.infn.it", *arguments[len(words) :], environment={"AMQP_URL": None})
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no repository nobody.infn.it. Request the repository first.\n"
    assert not [event for event in running.world.bus.published if event["subject"] == "nobody.infn.it"]


def test_a_wish_is_sent_also_while_the_records_cannot_be_read(running, monkeypatch):
    def down(*_):
        raise StoreUnavailable("S3 is down")

    monkeypatch.setattr(running.world.state, "get", down)
    running.busy = True
    assert running.run("resign", FQRN).exit_code == 0
    assert running.world.bus.published[-1]["type"] == RenewalRequested.TYPE


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("-a", "bad name!"), "Invalid value for --add: 'bad name!' is not a tag name"),
        (("-r", ""), "Invalid value for --remove: '' is not a tag name"),
        (("-a", "v1", "-h", "abc"), "Invalid value for --hash: 'abc' is no number of a revision and no root hash"),
    ],
    ids=["add", "remove", "hash"],
)
def test_names_and_places_of_tags_are_judged_before_anything_is_sent(running, options, told):
    result = running.run("tag", FQRN, *options)
    assert result.exit_code == 2
    assert told in result.stderr
