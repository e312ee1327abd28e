"""The event source and the whole runtime against a real RabbitMQ: the rules of RabbitmqSource, and nothing lost."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pika
import pytest
import urllib3
import yaml
from cloudevents.conversion import to_structured
from cloudevents.http import CloudEvent
from pika.exceptions import ChannelClosedByBroker
from pydantic import SecretStr

from functions.adapters.rabbitmq import RabbitEventBus
from functions.local.runtime.container import Image
from functions.local.runtime.errors import ManifestError, SinkError, StartError, TopologyError
from functions.local.runtime.manifests import Delivery, Manifests, Source, installed_folder
from functions.local.runtime.messages import Answer, Request
from functions.local.runtime.runtime import Runtime
from functions.local.runtime.source import EventSource
from functions.local.runtime.topology import Broker, apply_topology
from functions.local.servers.ports import fresh_port
from tests.kubernetes_schemas import objects
from tests.runtime_toys import TOY, calls, step_topology, toy_manifests, wait_until

pytestmark = pytest.mark.services

_VHOSTS = itertools.count(1)
LONG_MS = 600_000


class Rabbit:
    """RabbitMQ as a test sees it: one virtual host of its own, a channel, the management interface."""

    def __init__(self, broker: Broker, vhost: str) -> None:
        self.broker = broker
        self.vhost = vhost
        self._login = urllib3.make_headers(
            basic_auth=f"{broker.username}:{broker.password.get_secret_value()}",
        )
        self._http = urllib3.PoolManager()
        path = quote(vhost, safe="")
        self.manage("PUT", f"vhosts/{path}")
        self.grant(broker.username, {"configure": ".*", "write": ".*", "read": ".*"})
        self._connection = pika.BlockingConnection(broker.parameters(vhost, name="test"))
        self.channel = self._connection.channel()

    def manage(self, method: str, path: str, **body: object) -> object:
        answer = self._http.request(
            method, f"{self.broker.management_url}/api/{path}", headers=self._login, json=body or None
        )
        assert answer.status < 300, answer.data
        return json.loads(answer.data) if answer.data else None

    def grant(self, user: str, permissions: dict[str, str]) -> None:
        self.manage("PUT", f"permissions/{quote(self.vhost, safe='')}/{user}", **permissions)

    def put(self, queue: str, *bodies: bytes, **properties: object) -> None:
        for body in bodies:
            self.channel.basic_publish("", queue, body, pika.BasicProperties(**properties))

    def waiting(self, queue: str) -> int:
        """Messages ready on a queue."""
        return self.channel.queue_declare(queue, passive=True).method.message_count

    def take(self, queue: str) -> bytes | None:
        """Get and acknowledge one message."""
        return self.channel.basic_get(queue, auto_ack=True)[2]

    def close(self) -> None:
        if self._connection.is_open:
            self._connection.close()
        self.manage("DELETE", f"vhosts/{quote(self.vhost, safe='')}")
        self._http.clear()


@pytest.fixture
def rabbit(servers) -> Iterator[Rabbit]:
    endpoints = servers.rabbit.endpoints
    broker = Broker(
        endpoints.host, endpoints.amqp_port, endpoints.management_url, endpoints.username, endpoints.password
    )
    opened = Rabbit(broker, f"runtime-{next(_VHOSTS)}")
    yield opened
    opened.close()


class RecordingSink:
    """Answers with statuses in turn, the last one for ever; None is a connection that fails. Can hold requests."""

    def __init__(self, *statuses: int | None) -> None:
        self.requests: list[Request] = []
        self.hold: threading.Event | None = None
        self._statuses = list(statuses) or [204]
        self._lock = threading.Lock()

    def send(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            status = self._statuses.pop(0) if len(self._statuses) > 1 else self._statuses[0]
        if self.hold is not None:
            self.hold.wait(60)
        if status is None:
            raise SinkError("refused")
        return Answer(status)


@pytest.fixture
def run_source(rabbit, tmp_path, request):
    """Makes a step's queues and runs a source of the first one into a sink."""

    def start(
        sink: RecordingSink, *, ttl_ms: int = LONG_MS, parallelism: int = 4, delivery: Delivery | None = None
    ) -> EventSource:
        make_step(rabbit, tmp_path / "step", ttl_ms)
        source = EventSource(
            Source(
                name="s",
                namespace="n",
                queue="fn.toy",
                vhost=rabbit.vhost,
                predeclared=True,
                parallelism=parallelism,
                delivery=delivery,
                sink_kind="Service",
                sink="toy",
            ),
            sink,
            rabbit.broker.parameters(rabbit.vhost, name="source under test"),
        )
        request.addfinalizer(source.stop)
        source.start()
        return source

    return start


def make_step(rabbit: Rabbit, folder: Path, ttl_ms: int) -> None:
    folder.mkdir()
    (folder / "step.yaml").write_text(yaml.safe_dump_all(step_topology("fn.toy", vhost=rabbit.vhost, ttl_ms=ttl_ms)))
    apply_topology(Manifests.load(folder), rabbit.broker)


TWICE = Delivery(retry=2, policy="linear", delay_s=0.1)


@pytest.mark.parametrize(
    ("status", "delivery", "posts", "acknowledged"),
    [
        *(pytest.param(status, TWICE, 1, True, id=f"{status} acknowledges") for status in (200, 202, 204, 299)),
        *(
            pytest.param(status, TWICE, 3, False, id=f"{status or 'no connection'} is tried again, then given back")
            for status in (404, 413, 425, 429, 502, 503, 504, None)
        ),
        *(
            pytest.param(status, TWICE, 1, False, id=f"{status} is given back at once")
            for status in (301, 400, 408, 409, 422, 500, 501)
        ),
        pytest.param(503, None, 1, False, id="503 without a delivery policy is given back at once"),
        pytest.param(None, None, 1, False, id="no connection without a delivery policy is given back at once"),
    ],
)
def test_the_answer_decides_about_the_message(rabbit, run_source, status, delivery, posts, acknowledged):
    sink = RecordingSink(status)
    source = run_source(sink, delivery=delivery)
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: source.status().handled + source.status().nacked == 1)
    if acknowledged:
        source.stop()
        assert (rabbit.waiting("fn.toy"), rabbit.waiting("fn.toy.retry")) == (0, 0)
    else:
        wait_until(lambda: rabbit.waiting("fn.toy.retry") == 1)
    assert len(sink.requests) == posts
    assert source.status().retried == posts - 1
    assert source.status().handled == acknowledged


def test_a_message_that_succeeds_on_a_further_try_is_acknowledged(rabbit, run_source):
    sink = RecordingSink(503, None, 204)
    source = run_source(sink, delivery=TWICE)
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: source.status().handled == 1)
    assert len(sink.requests) == 3
    assert len({str(request) for request in sink.requests}) == 1


def test_a_broken_structured_event_is_given_back_without_being_sent(rabbit, run_source):
    sink = RecordingSink(204)
    run_source(sink)
    rabbit.put("fn.toy", b"{", content_type="application/cloudevents+json")
    wait_until(lambda: rabbit.waiting("fn.toy.retry") == 1)
    assert sink.requests == []


def test_a_given_back_message_returns_to_its_queue_after_the_retry_time_until_it_succeeds(rabbit, run_source):
    sink = RecordingSink(500, 500, 204)
    source = run_source(sink, ttl_ms=300)
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: source.status().handled == 1)
    assert (source.status().nacked, [request.body for request in sink.requests]) == (2, [b"message"] * 3)


def test_a_structured_event_arrives_in_binary_mode(rabbit, run_source):
    sink = RecordingSink(204)
    run_source(sink)
    event = CloudEvent({"type": "t", "source": "/s", "id": "a@7", "subject": "a.infn.it"}, {"revision": 7})
    headers, body = to_structured(event)
    rabbit.put("fn.toy", bytes(body), content_type=headers["content-type"])
    request = wait_until(lambda: sink.requests)[0]
    assert json.loads(request.body) == {"revision": 7}
    assert (request.headers["ce-id"], request.headers["ce-subject"]) == ("a@7", "a.infn.it")


def test_a_message_without_properties_gets_another_id_with_every_delivery(rabbit, run_source):
    sink = RecordingSink(500, 204)
    run_source(sink, ttl_ms=300)
    rabbit.channel.basic_publish("", "fn.toy", b'{"Records":[]}')
    wait_until(lambda: len(sink.requests) == 2)
    first, second = (request.headers for request in sink.requests)
    assert first["ce-type"] == second["ce-type"] == "dev.knative.rabbitmq.event"
    assert first["ce-id"] != second["ce-id"]
    assert "Content-Type" not in first


def test_stopping_gives_back_what_is_under_way_and_leaves_the_rest_on_the_queue(rabbit, run_source):
    sink = RecordingSink(204)
    sink.hold = threading.Event()
    source = run_source(sink, parallelism=2)
    rabbit.put("fn.toy", *(f"{number}".encode() for number in range(10)))
    wait_until(lambda: len(sink.requests) == 2 and source.status().in_flight == 10)
    source.stop()
    wait_until(lambda: (rabbit.waiting("fn.toy.retry"), rabbit.waiting("fn.toy")) == (4, 6))
    sink.hold.set()
    assert source.status().nacked == 4
    assert len(sink.requests) == 2


def test_a_message_in_flight_when_the_source_stops_comes_back(rabbit, run_source):
    sink = RecordingSink(204)
    sink.hold = threading.Event()
    source = run_source(sink, ttl_ms=300)
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: sink.requests)
    source.stop()
    sink.hold.set()
    wait_until(lambda: rabbit.waiting("fn.toy") == 1)
    assert rabbit.take("fn.toy") == b"message"


def test_stopping_does_not_wait_for_the_next_try(rabbit, run_source):
    sink = RecordingSink(503)
    source = run_source(sink, delivery=Delivery(retry=9, policy="linear", delay_s=600.0))
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: sink.requests)
    source.stop()
    wait_until(lambda: rabbit.waiting("fn.toy.retry") == 1)


def test_at_most_100_messages_are_taken_and_only_as_many_sent_as_there_are_workers(rabbit, run_source):
    sink = RecordingSink(204)
    sink.hold = threading.Event()
    source = run_source(sink, parallelism=3)
    rabbit.put("fn.toy", *([b"message"] * 130))
    wait_until(lambda: source.status().in_flight == 100 and rabbit.waiting("fn.toy") == 30)
    assert len(sink.requests) == 3
    sink.hold.set()
    wait_until(lambda: source.status().handled == 130)


def test_a_lost_connection_is_made_again_and_its_messages_come_again(rabbit, run_source):
    sink = RecordingSink(204)
    sink.hold = threading.Event()
    source = run_source(sink)
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: sink.requests)

    def ours() -> list[str]:
        found = rabbit.manage("GET", f"vhosts/{rabbit.vhost}/connections")
        return [
            connection["name"]
            for connection in found
            if connection.get("client_properties", {}).get("connection_name") == "source under test"
        ]

    for name in wait_until(ours):
        rabbit.manage("DELETE", f"connections/{quote(name, safe='')}")
    wait_until(lambda: len(sink.requests) == 2)
    sink.hold.set()
    wait_until(lambda: source.status().handled == 1)
    assert source.status().connections == 2
    assert {request.body for request in sink.requests} == {b"message"}
    assert (rabbit.waiting("fn.toy"), rabbit.waiting("fn.toy.retry")) == (0, 0)


def test_a_source_waits_for_a_queue_that_does_not_exist_yet(rabbit, tmp_path):
    sink = RecordingSink(204)
    source = EventSource(
        Source(name="s", queue="fn.toy", vhost=rabbit.vhost, predeclared=True, sink_kind="Service", sink="toy"),
        sink,
        rabbit.broker.parameters(rabbit.vhost, name="early"),
    )
    source.start()
    try:
        assert not source.status().connected
        make_step(rabbit, tmp_path / "step", LONG_MS)
        rabbit.put("fn.toy", b"message")
        wait_until(lambda: source.status().handled == 1)
    finally:
        source.stop()


@pytest.fixture
def run_toy(rabbit, tmp_path, request):
    """Runs a toy Service with its source and queues."""

    def start(
        *, ttl_ms: int = 300, idle_s: float | None = None, ports: dict[str, int] | None = None, **changes: object
    ) -> Runtime:
        number = len(list(tmp_path.glob("manifests-*")))
        runtime = Runtime(
            toy_manifests(tmp_path / f"manifests-{number}", vhost=rabbit.vhost, ttl_ms=ttl_ms, **changes),
            settings={"toy": {"TOY_FOLDER": str(tmp_path)}},
            broker=rabbit.broker,
            state=tmp_path / "state",
            image=Image.of_this_process(TOY),
            idle_s=idle_s,
            ports=ports,
        )
        request.addfinalizer(runtime.stop)
        runtime.start()
        return runtime

    return start


def bodies(folder: Path) -> set[str]:
    return {call["body"] for call in calls(folder)}


def quiet(runtime: Runtime, rabbit: Rabbit) -> Callable[[], bool]:
    """Whether no message is anywhere."""
    return lambda: (
        runtime.status().sources["toy"].in_flight == 0
        and rabbit.waiting("fn.toy") == 0
        and rabbit.waiting("fn.toy.retry") == 0
    )


def test_a_functions_framework_function_comes_from_zero_works_and_goes_back_to_zero(rabbit, run_toy, tmp_path):
    runtime = run_toy(framework=True, idle_s=0.5)
    assert runtime.status().services["toy"].pids == []
    rabbit.put("fn.toy", b"one", b"two")
    wait_until(lambda: bodies(tmp_path) == {"one", "two"})
    status = runtime.status().services["toy"]
    assert status.started == len(status.cold_starts_s) == 1
    assert {call["path"] for call in calls(tmp_path)} == {"/in"}
    assert {call["headers"]["ce-type"] for call in calls(tmp_path)} == {"dev.knative.rabbitmq.event"}
    wait_until(lambda: runtime.status().services["toy"].ready == 0)
    rabbit.put("fn.toy", b"three")
    wait_until(lambda: "three" in bodies(tmp_path))
    assert runtime.status().services["toy"].started == 2
    wait_until(lambda: runtime.status().sources["toy"].handled == 3)


def test_kill_9_of_an_instance_in_the_middle_of_requests_loses_nothing(rabbit, run_toy, tmp_path):
    runtime = run_toy(max_scale=1)
    (tmp_path / "gate").touch()
    sent = [json.dumps({"while_there": "gate", "number": number}) for number in range(40)]
    rabbit.put("fn.toy", *map(str.encode, sent))
    wait_until(lambda: len(calls(tmp_path, "begin")) == 4)
    victim = runtime.status().services["toy"].pids[0]
    os.kill(victim, signal.SIGKILL)
    (tmp_path / "gate").unlink()
    wait_until(lambda: bodies(tmp_path) == set(sent))
    wait_until(quiet(runtime, rabbit))
    assert victim not in {call["pid"] for call in calls(tmp_path)}
    assert runtime.status().services["toy"].crashed == 1


def test_a_runtime_that_stops_in_the_middle_of_requests_loses_nothing(rabbit, run_toy, tmp_path):
    first = run_toy(parallelism=2)
    sent = [json.dumps({"sleep": 0.05, "number": number}) for number in range(40)]
    rabbit.put("fn.toy", *map(str.encode, sent))
    wait_until(lambda: len(calls(tmp_path)) >= 2)
    first.stop()
    handled = first.status().sources["toy"].handled
    assert handled < 40
    second = run_toy(parallelism=2)
    wait_until(lambda: bodies(tmp_path) == set(sent))
    wait_until(quiet(second, rabbit))
    assert handled + second.status().sources["toy"].handled == 40


def test_a_function_that_cannot_start_keeps_its_messages_until_it_can(rabbit, run_toy, tmp_path):
    (tmp_path / "broken").touch()
    runtime = run_toy()
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: runtime.status().sources["toy"].nacked >= 1)
    assert runtime.status().services["toy"].failed_starts >= 1
    (tmp_path / "broken").unlink()
    wait_until(lambda: bodies(tmp_path) == {"message"})
    wait_until(quiet(runtime, rabbit))


def test_a_service_with_a_fixed_port_is_there_from_the_start_and_can_be_asked_by_hand(rabbit, run_toy, tmp_path):
    port = fresh_port()
    runtime = run_toy(ports={"toy": port}, idle_s=0.1)
    assert urllib3.request("GET", f"http://127.0.0.1:{port}/readyz").status == 200
    assert runtime.send("toy", Request(path="/by-hand", headers={}, body=b"{}")).status == 204
    assert [call["path"] for call in calls(tmp_path)] == ["/by-hand"]
    assert runtime.status().services["toy"].ports == [port]
    assert runtime.status().services["toy"].started == 1


def test_a_service_that_cannot_start_on_its_fixed_port_ends_the_start_and_takes_no_messages(rabbit, run_toy, tmp_path):
    (tmp_path / "broken").touch()
    with pytest.raises(StartError, match="toy"):
        run_toy(ports={"toy": fresh_port()})
    rabbit.put("fn.toy", b"message")
    wait_until(lambda: rabbit.waiting("fn.toy") == 1)


def test_names_that_no_manifest_defines_are_told(rabbit, run_toy):
    with pytest.raises(ManifestError, match="no manifest defines Service gateway"):
        run_toy(ports={"gateway": 8080})
    runtime = run_toy()
    with pytest.raises(ManifestError, match="no manifest defines Service other"):
        runtime.send("other", Request(path="/", headers={}, body=b""))


def test_a_second_start_with_other_properties_is_refused_and_says_so(rabbit, run_toy, tmp_path):
    rabbit.channel.queue_declare("fn.toy", durable=False)
    with pytest.raises(TopologyError, match=r"fn\.toy"):
        run_toy()


REAL_STEPS = {
    "store-keys": ("cvmfs", "it.infn.datacloud.cvmfs.repository.requested", "fn.store-keys"),
    "create-repository": ("cvmfs", "it.infn.datacloud.cvmfs.repository.keys-stored", "fn.create-repository"),
    "handle-bucket-notification": ("notification", "cvmfs-2", "fn.handle-bucket-notification"),
    "publish-transaction": ("cvmfs", "it.infn.datacloud.cvmfs.repository.changed", "fn.publish-transaction"),
    "reconcile-bucket": ("cvmfs", "it.infn.datacloud.cvmfs.reconciliation.requested", "fn.reconcile-bucket"),
    "edit-repository": ("cvmfs", "it.infn.datacloud.cvmfs.tag.requested", "fn.edit-repository"),
    "delete-repository": ("cvmfs", "it.infn.datacloud.cvmfs.deletion.requested", "fn.delete-repository"),
    "resign-whitelist": ("cvmfs", "it.infn.datacloud.cvmfs.renewal.requested", "fn.resign-whitelist"),
    "collect-garbage": ("cvmfs", "it.infn.datacloud.cvmfs.collection.requested", "fn.collect-garbage"),
    "legacy-requests": ("", "cvmfs", "cvmfs"),
    "legacy-replies": ("cvmfs", "it.infn.datacloud.cvmfs.repository.created", "fn.legacy-replies"),
}


@pytest.fixture
def real_topology(rabbit) -> Manifests:
    """The exchanges, queues, bindings and policies of knative/, in this test's virtual host."""
    manifests = Manifests.load(installed_folder())
    here = replace(
        manifests,
        **{
            parts: [part.model_copy(update={"vhost": rabbit.vhost}) for part in getattr(manifests, parts)]
            for parts in ("exchanges", "queues", "bindings", "policies")
        },
    )
    apply_topology(here, rabbit.broker)
    return here


def full_queues(rabbit: Rabbit, manifests: Manifests) -> set[str]:
    return {queue.name for queue in manifests.queues if rabbit.waiting(queue.name)}


def test_what_a_step_gives_back_returns_to_that_step_and_to_no_other(rabbit, real_topology):
    by_step = {}
    for step, (exchange, key, queue) in REAL_STEPS.items():
        rabbit.channel.basic_publish(exchange, key, step.encode())
        by_step[queue] = step
    wait_until(lambda: by_step.keys() <= full_queues(rabbit, real_topology))
    for queue in ("cvmfs.dashboard", "cvmfs.unrouted"):
        rabbit.channel.queue_purge(queue)
    for queue in by_step:
        frame = rabbit.channel.basic_get(queue)[0]
        rabbit.channel.basic_nack(frame.delivery_tag, requeue=False)
    retries = {f"fn.{step}.retry" for step in REAL_STEPS}
    wait_until(lambda: full_queues(rabbit, real_topology) == retries, "all in their retry queues")
    wait_until(lambda: full_queues(rabbit, real_topology) == set(by_step), "all back")
    assert {queue: rabbit.waiting(queue) for queue in by_step} == dict.fromkeys(by_step, 1)
    assert {queue: rabbit.take(queue).decode() for queue in by_step} == by_step


def test_every_step_has_a_parked_queue_that_keeps_its_messages(rabbit, real_topology):
    for step in REAL_STEPS:
        rabbit.put(f"fn.{step}.parked", step.encode())
    parked = {f"fn.{step}.parked" for step in REAL_STEPS}
    wait_until(lambda: full_queues(rabbit, real_topology) == parked)
    time.sleep(0.5)
    assert full_queues(rabbit, real_topology) == parked


def test_what_no_binding_takes_is_kept(rabbit, real_topology):
    rabbit.channel.basic_publish("cvmfs", "org.example.other", b"stray")
    wait_until(lambda: full_queues(rabbit, real_topology) == {"cvmfs.unrouted"})


def test_every_queue_has_its_policy(rabbit, real_topology):
    rabbit.channel.queue_declare(
        "changes.a.infn.it", durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True}
    )
    found = wait_until(
        lambda: (
            (queues := rabbit.manage("GET", f"queues/{rabbit.vhost}"))
            and all(queue.get("policy") for queue in queues)
            and queues
        )
    )
    assert {queue["name"]: queue["policy"] for queue in found if queue["policy"] == "kept"}.keys() == {
        "changes.a.infn.it",
        "cvmfs.unrouted",
        "cvmfs_reply",
        *(f"fn.{step}.parked" for step in REAL_STEPS),
    }
    safe = [queue["name"] for queue in found if queue["effective_policy_definition"].get("dead-letter-strategy")]
    assert set(safe) == {place for step, (_, _, queue) in REAL_STEPS.items() for place in (queue, f"fn.{step}.retry")}
    exchanges = rabbit.manage("GET", f"exchanges/{rabbit.vhost}")
    assert {exchange["name"] for exchange in exchanges if exchange.get("policy")} == {"cvmfs", "notification"}


@pytest.mark.usefixtures("real_topology")
def test_what_is_taken_beside_the_source_and_put_off_comes_back_by_the_policy(rabbit):
    here = f"{rabbit.broker.host}:{rabbit.broker.amqp_port}/{quote(rabbit.vhost, safe='')}"
    bus = RabbitEventBus(
        SecretStr(f"amqp://{rabbit.broker.username}:{rabbit.broker.password.get_secret_value()}@{here}")
    )
    step, queue = "handle-bucket-notification", "fn.handle-bucket-notification"
    bus.send_work(step, [b"1", b"2", b"3"])
    with bus.take_work(step, most=3) as work:
        work.put_off(work.deliveries[:1])
        work.ack(work.deliveries[1:2])
    wait_until(lambda: rabbit.waiting(queue) == 1 and rabbit.waiting(f"{queue}.retry") == 1)
    assert rabbit.take(queue) == b"3"
    wait_until(lambda: rabbit.waiting(queue) == 1)
    assert rabbit.take(queue) == b"1"
    bus.close()


@pytest.fixture
def as_account(rabbit, real_topology):
    """Opens channels under the accounts of knative/rabbitmq/accounts.yaml, with exactly their permissions."""
    connections = []
    permissions = {
        thing["spec"]["userReference"]["name"]: thing["spec"]["permissions"]
        for _, thing in objects(installed_folder() / "rabbitmq")
        if thing["kind"] == "Permission"
    }

    def open_channel(account: str) -> Callable[[], object]:
        name = f"{rabbit.vhost}-{account}"
        rabbit.manage("PUT", f"users/{name}", password="x", tags="")
        rabbit.grant(name, permissions[account])
        parameters = pika.ConnectionParameters(
            rabbit.broker.host,
            rabbit.broker.amqp_port,
            rabbit.vhost,
            credentials=pika.PlainCredentials(name, "x"),
        )
        connection = pika.BlockingConnection(parameters)
        connections.append(connection)

        def channel() -> object:
            opened = connection.channel()
            opened.confirm_delivery()
            return opened

        return channel

    yield open_channel
    for connection in connections:
        connection.close()
    for user in rabbit.manage("GET", "users"):
        if user["name"].startswith(f"{rabbit.vhost}-"):
            rabbit.manage("DELETE", f"users/{user['name']}")


def consume(queue: str) -> Callable[[object], object]:
    return lambda channel: channel.basic_consume(queue, lambda *_: None)


def publish(exchange: str, key: str) -> Callable[[object], object]:
    return lambda channel: channel.basic_publish(exchange, key, b"x", mandatory=True)


def look(queue: str) -> Callable[[object], object]:
    return lambda channel: channel.queue_declare(queue, passive=True)


def declare(queue: str) -> Callable[[object], object]:
    return lambda channel: channel.queue_declare(
        queue, durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True}
    )


REQUESTED = "it.infn.datacloud.cvmfs.repository.requested"


@pytest.mark.parametrize(
    ("account", "allowed", "refused"),
    [
        pytest.param(
            "cvmfs-source",
            [look("fn.store-keys"), consume("fn.store-keys"), look("cvmfs"), consume("cvmfs")],
            [consume("fn.store-keys.parked"), publish("cvmfs", REQUESTED), publish("", "fn.store-keys"), declare("q")],
            id="the sources only take from the steps",
        ),
        pytest.param(
            "cvmfs-functions",
            [
                publish("cvmfs", REQUESTED),
                publish("", "fn.store-keys.parked"),
                declare("changes.a.infn.it"),
                look("changes.a.infn.it"),
                consume("changes.a.infn.it"),
                look("fn.handle-bucket-notification"),
                consume("fn.handle-bucket-notification"),
            ],
            [consume("fn.store-keys"), publish("notification", "x"), declare("q")],
            id="the functions publish, park, own the change queues, and take notifications along",
        ),
        pytest.param(
            "cvmfs-gateway",
            [
                publish("cvmfs", REQUESTED),
                publish("", "cvmfs_reply"),
                look("fn.store-keys"),
                consume("fn.store-keys.parked"),
                consume("cvmfs.dashboard"),
                declare("changes.a.infn.it"),
                publish("notification", "x"),
            ],
            [consume("fn.store-keys"), consume("cvmfs_reply"), declare("q")],
            id="the gateway publishes, replies, looks at what is parked and sends it back",
        ),
        pytest.param(
            "cvmfs-radosgw",
            [
                publish("notification", "cvmfs-0"),
                lambda channel: channel.exchange_declare("notification", passive=True),
            ],
            [publish("cvmfs", REQUESTED), publish("", "fn.store-keys"), consume("fn.handle-bucket-notification")],
            id="RadosGW only publishes notifications",
        ),
    ],
)
def test_an_account_may_do_what_it_is_for_and_no_more(as_account, account, allowed, refused):
    channel = as_account(account)
    for action in allowed:
        action(channel())
    for action in refused:
        with pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):
            action(channel())
