"""The manifests in knative/: valid against the schemas of the cluster, and consistent with each other."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from events import EVENT_CLASSES, Wish
from events.types import TYPE_PREFIX
from functions.handlers.reconciliation_timers import FOR_WAITING
from functions.local.runtime.manifests import Manifests
from functions.local.runtime.source import PREFETCH
from functions.local.servers.vault_policies import FUNCTIONS, policy_of
from functions.settings import Settings
from tests.kubernetes_schemas import faults, objects

KNATIVE = Path(__file__).parents[2] / "knative"
OBJECTS = list(objects(KNATIVE))
MANIFESTS = Manifests.load(KNATIVE)
QUEUES = {queue.name: queue for queue in MANIFESTS.queues}
STEPS = {
    "store-keys": "fn.store-keys",
    "create-repository": "fn.create-repository",
    "handle-bucket-notification": "fn.handle-bucket-notification",
    "publish-transaction": "fn.publish-transaction",
    "edit-repository": "fn.edit-repository",
    "delete-repository": "fn.delete-repository",
    "resign-whitelist": "fn.resign-whitelist",
    "collect-garbage": "fn.collect-garbage",
    "reconcile-bucket": "fn.reconcile-bucket",
    "legacy-requests": "cvmfs",
    "legacy-replies": "fn.legacy-replies",
}
CONSUMER_TIMEOUT_S = 30 * 60
"""RabbitMQ's default: a message that is not settled by then closes the channel."""


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [thing for _, thing in OBJECTS if thing["kind"] == kind]


def name_of(path: Path, thing: dict[str, Any]) -> str:
    return f"{path.relative_to(KNATIVE)} {thing['kind']} {thing.get('metadata', {}).get('name', '')}"


def policies_for(name: str, *, target: str = "queues") -> list[Any]:
    return [
        policy
        for policy in MANIFESTS.policies
        if policy.apply_to in {target, "all"} and re.search(policy.pattern, name) is not None
    ]


def container(service: dict[str, Any]) -> dict[str, Any]:
    (only,) = service["spec"]["template"]["spec"]["containers"]
    return only


@pytest.mark.parametrize(("path", "thing"), OBJECTS, ids=[name_of(*entry) for entry in OBJECTS])
def test_every_object_is_valid_and_has_no_unknown_field(path, thing):
    assert faults(thing) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda spec: spec.update(retries=3), "retries", id="an unknown field of a source"),
        pytest.param(lambda spec: spec["delivery"].update(deadLetterSink={}), "deadLetterSink", id="a nested one"),
        pytest.param(lambda spec: spec.pop("sink"), "sink", id="a missing field"),
        pytest.param(lambda spec: spec["rabbitmqResourcesConfig"].update(parallelism=0), "minimum", id="a bad number"),
        pytest.param(lambda spec: spec["delivery"].update(retry="1"), "integer", id="a bad type"),
    ],
)
def test_the_validation_finds_what_is_wrong(change, told):
    (source, *_) = yaml.safe_load_all(yaml.safe_dump_all(of_kind("RabbitmqSource")))
    assert faults(source) == []
    change(source["spec"])
    assert told in str(faults(source))


def test_an_unknown_field_deep_in_a_service_is_found():
    (service, *_) = yaml.safe_load_all(yaml.safe_dump_all(of_kind("Service")))
    container(service)["securityContext"]["privilaged"] = False
    assert "privilaged" in str(faults(service))


def test_names_are_unique_within_a_kind():
    names = Counter((thing["kind"], thing["metadata"]["name"]) for _, thing in OBJECTS if "metadata" in thing)
    assert [name for name, times in names.items() if times > 1] == []


def test_every_file_is_part_of_a_kustomization():
    def listed(folder: Path) -> Iterator[Path]:
        yield folder / "kustomization.yaml"
        for entry in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
            if (folder / entry).is_dir():
                yield from listed(folder / entry)
            else:
                yield folder / entry

    assert sorted(listed(KNATIVE)) == sorted(KNATIVE.rglob("*.yaml"))


def test_there_is_one_source_for_each_step_and_each_has_its_own_queue():
    assert {source.name: source.queue for source in MANIFESTS.sources.values()} == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_a_step_has_its_queue_and_a_retry_queue_and_a_parked_queue_all_quorum_and_kept_on_deletion(step):
    for name in (STEPS[step], f"fn.{step}.retry", f"fn.{step}.parked"):
        assert (QUEUES[name].type, QUEUES[name].durable) == ("quorum", True)
        (raw,) = [thing["spec"] for thing in of_kind("Queue") if thing["spec"]["name"] == name]
        assert raw["deletionPolicy"] == "retain"


@pytest.mark.parametrize("step", STEPS)
def test_what_a_step_gives_back_waits_five_seconds_and_returns_to_it_alone(step):
    safe = {"dead-letter-exchange": "", "dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}
    (given_back,) = policies_for(STEPS[step])
    assert given_back.definition == {**safe, "dead-letter-routing-key": f"fn.{step}.retry"}
    (returning,) = policies_for(f"fn.{step}.retry")
    assert returning.definition == {**safe, "dead-letter-routing-key": STEPS[step], "message-ttl": 5000}


@pytest.mark.parametrize("name", [*QUEUES, "changes.a.infn.it"])
def test_exactly_one_policy_holds_for_a_queue_since_rabbitmq_applies_no_second_one(name):
    assert len(policies_for(name)) == 1


@pytest.mark.parametrize("name", [f"fn.{step}.parked" for step in STEPS] + ["changes.a.infn.it", "cvmfs.unrouted"])
def test_no_number_of_deliveries_deletes_what_must_be_kept(name):
    (policy,) = policies_for(name)
    assert policy.definition == {"delivery-limit": 1_000_000}


def test_policies_do_not_reach_queues_of_others():
    assert [policies_for(name) for name in ("fn.store-keys.retry.x", "cvmfs2", "xfn.store-keys", "amq.gen-1")] == [
        []
    ] * 4


def test_both_topic_exchanges_keep_what_no_binding_takes():
    exchanges = {exchange.name: exchange for exchange in MANIFESTS.exchanges}
    assert {name: exchange.type for name, exchange in exchanges.items()} == {
        "cvmfs": "topic",
        "notification": "topic",
        "cvmfs.unrouted": "fanout",
    }
    assert all(exchange.durable for exchange in exchanges.values())
    for name in ("cvmfs", "notification"):
        (policy,) = policies_for(name, target="exchanges")
        assert policy.definition == {"alternate-exchange": "cvmfs.unrouted"}
    assert ("cvmfs.unrouted", "cvmfs.unrouted") in {(b.source, b.destination) for b in MANIFESTS.bindings}


def test_the_bindings_are_those_that_the_writers_agreed_on():
    found = {(b.source, b.routing_key.removeprefix(TYPE_PREFIX), b.destination) for b in MANIFESTS.bindings}
    assert found == {
        ("cvmfs", "repository.requested", "fn.store-keys"),
        ("cvmfs", "repository.keys-stored", "fn.create-repository"),
        ("cvmfs", "repository.changed", "fn.publish-transaction"),
        ("cvmfs", "tag.requested", "fn.edit-repository"),
        ("cvmfs", "rollback.requested", "fn.edit-repository"),
        ("cvmfs", "release.requested", "fn.edit-repository"),
        ("cvmfs", "suspension.requested", "fn.edit-repository"),
        ("cvmfs", "resumption.requested", "fn.edit-repository"),
        ("cvmfs", "settings.requested", "fn.edit-repository"),
        ("cvmfs", "deletion.requested", "fn.delete-repository"),
        ("cvmfs", "renewal.requested", "fn.resign-whitelist"),
        ("cvmfs", "collection.requested", "fn.collect-garbage"),
        ("cvmfs", "reconciliation.requested", "fn.reconcile-bucket"),
        ("cvmfs", "repository.created", "fn.legacy-replies"),
        ("cvmfs", "repository.refused", "fn.legacy-replies"),
        ("cvmfs", "#", "cvmfs.dashboard"),
        ("notification", "#", "fn.handle-bucket-notification"),
        ("cvmfs.unrouted", "", "cvmfs.unrouted"),
    }
    assert {b.source for b in MANIFESTS.bindings} <= {exchange.name for exchange in MANIFESTS.exchanges}
    assert {b.destination for b in MANIFESTS.bindings} <= QUEUES.keys()


def test_everything_in_rabbitmq_is_in_one_virtual_host_and_named_through_one_secret():
    for path, thing in OBJECTS:
        if thing["apiVersion"].startswith("rabbitmq.com/"):
            assert thing["spec"]["rabbitmqClusterReference"] == {"connectionSecret": {"name": "rabbitmq-operator"}}, (
                path
            )
            assert thing["kind"] == "User" or thing["spec"]["vhost"] == "/"


@pytest.mark.parametrize("source", MANIFESTS.sources.values(), ids=lambda source: source.name)
def test_a_source_tries_again_with_waits_that_the_adapter_survives_and_sends_to_a_service(source):
    (raw,) = [thing["spec"] for thing in of_kind("RabbitmqSource") if thing["metadata"]["name"] == source.name]
    assert raw["rabbitmqClusterReference"] == {"connectionSecret": {"name": "rabbitmq-source"}}
    assert raw["sink"]["ref"]["apiVersion"] == "serving.knative.dev/v1"
    assert raw["delivery"].keys() == {"retry", "backoffPolicy", "backoffDelay"}
    assert source.delivery.delay_s >= 0.1
    assert source.sink in MANIFESTS.services
    assert source.queue in QUEUES


def test_the_two_timers_of_reconciliation_say_which_repositories_they_are_for():
    assert MANIFESTS.timers["reconcile-bucket"].data == '{"repositories": "all"}'
    assert MANIFESTS.timers["late-buckets"].data == json.dumps(FOR_WAITING)


def test_a_part_of_a_reconciliation_ends_well_before_its_request_does():
    settings = Settings.model_fields["reconcile_leg_s"]
    assert 2 * settings.default <= MANIFESTS.services["reconcile-bucket"].timeout_s


@pytest.mark.parametrize(
    ("step", "names"),
    [
        # A publisher may begin to gather just before it would leave, and gathers for as long as one interval.
        ("publish-transaction", ["publish_stay_s", "min_publish_interval_s"]),
        ("collect-garbage", ["collect_stay_s"]),
        ("delete-repository", ["collect_stay_s"]),
        ("reconcile-bucket", ["reconcile_leg_s"]),
    ],
)
def test_no_time_that_can_be_set_is_longer_than_the_request_that_is_spent_on_it(step, names):
    most = [limit.le for name in names for limit in Settings.model_fields[name].metadata if hasattr(limit, "le")]
    assert len(most) == len(names)
    assert sum(most) < MANIFESTS.services[step].timeout_s


@pytest.mark.parametrize("source", MANIFESTS.sources.values(), ids=lambda source: source.name)
def test_no_prefetched_message_waits_longer_than_rabbitmq_allows(source):
    service = MANIFESTS.services[source.sink]
    at_once = min(source.parallelism, service.container_concurrency * service.max_scale)
    tries = 1 + source.delivery.retry
    waits = sum(source.delivery.wait_s(attempt) for attempt in range(1, tries))
    assert math.ceil(PREFETCH / at_once) * (tries * service.timeout_s + waits) < CONSUMER_TIMEOUT_S


@pytest.mark.parametrize("service", of_kind("Service"), ids=lambda service: service["metadata"]["name"])
def test_a_service_has_limits_probes_and_no_rights(service):
    name = service["metadata"]["name"]
    revision, only = service["spec"]["template"]["spec"], container(service)
    assert revision["containerConcurrency"] >= 1
    assert 0 < revision["timeoutSeconds"] <= 600
    assert revision["responseStartTimeoutSeconds"] == revision["timeoutSeconds"]
    assert revision["serviceAccountName"] == name
    assert revision["automountServiceAccountToken"] is False
    assert only["readinessProbe"]["httpGet"]["path"] == "/readyz"
    alive = only["livenessProbe"]
    # One second, which is what probes get otherwise, is short for a process that packs archives in ten threads.
    assert (only["readinessProbe"]["timeoutSeconds"], alive["timeoutSeconds"]) == (5, 10)
    # The gateway listens on loopback only, where the kubelet cannot reach it.
    assert "/healthz" in (str(alive["exec"]["command"]) if name == "gateway" else alive["httpGet"]["path"])
    assert only["resources"]["limits"].keys() == {"memory"}
    assert only["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert only["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    annotations = service["spec"]["template"]["metadata"]["annotations"]
    assert int(annotations["autoscaling.knative.dev/max-scale"]) >= 1


@pytest.mark.parametrize("service", of_kind("Service"), ids=lambda service: service["metadata"]["name"])
def test_a_service_gets_the_common_settings_and_a_vault_login_of_its_own(service):
    names = [next(iter(source.values()))["name"] for source in container(service)["envFrom"]]
    assert names[:3] == ["cvmfs-cloud", "cvmfs-cloud", f"vault-{service['metadata']['name']}"]


def test_functions_start_from_zero_out_of_reach_of_the_world_with_a_thread_for_each_request_and_each_probe():
    functions = {name: service for name, service in MANIFESTS.services.items() if name != "gateway"}
    assert functions.keys() == STEPS.keys() - {"legacy-requests", "legacy-replies"}
    for name, service in functions.items():
        environment = {variable.name: variable.value for variable in service.variables}
        assert service.command == ("functions-framework",)
        assert service.min_scale == 0
        assert environment == {
            "FUNCTION_TARGET": name.replace("-", "_"),
            "THREADS": str(service.container_concurrency + len(("readiness", "liveness"))),
        }
    public = [
        thing["metadata"]["name"]
        for thing in of_kind("Service")
        if thing["metadata"].get("labels") != {"networking.knative.dev/visibility": "cluster-local"}
    ]
    assert public == []  # the gateway follows once it asks who is calling


def test_timers_post_to_the_functions_that_know_them_and_say_when_in_utc():
    timers = {thing["metadata"]["name"]: thing["spec"] for thing in of_kind("PingSource")}
    assert timers.keys() >= {"resign-whitelist", "collect-garbage", "reconcile-bucket", "late-buckets"}
    for timer, spec in timers.items():
        name = "reconcile-bucket" if timer == "late-buckets" else timer
        assert spec["sink"] == {"ref": {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": name}}
        assert spec["timezone"] == "UTC"
        assert "is_timer" in (KNATIVE.parent / f"functions/handlers/{name.replace('-', '_')}.py").read_text()


def test_every_wish_has_one_function_that_carries_it_out():
    bound = [b.routing_key for b in MANIFESTS.bindings if b.source == "cvmfs" and b.destination.startswith("fn.")]
    wishes = [known.TYPE for known in EVENT_CLASSES.values() if issubclass(known, Wish)]
    assert [bound.count(wish) for wish in wishes] == [1] * len(wishes)


def test_service_accounts_exist_and_hold_no_token():
    used = {thing["spec"]["template"]["spec"]["serviceAccountName"] for thing in of_kind("Service")}
    used |= {thing["spec"]["serviceAccountName"] for thing in of_kind("RabbitmqSource")}
    accounts = {thing["metadata"]["name"]: thing for thing in of_kind("ServiceAccount")}
    assert accounts.keys() == used
    assert all(account["automountServiceAccountToken"] is False for account in accounts.values())


def test_every_permission_belongs_to_a_user():
    users = {thing["metadata"]["name"] for thing in of_kind("User")}
    assert {thing["spec"]["userReference"]["name"] for thing in of_kind("Permission")} == users


def secrets_in_the_readme() -> dict[str, set[str]]:
    """The Secrets that README.md tells to create, with their keys."""
    text = (KNATIVE / "README.md").read_text().replace("\\\n", " ")
    found = {}
    for name, rest in re.findall(r"create secret generic ([a-z-]+)(.*)", text):
        found[name] = set(re.findall(r"--from-literal=(\w+)=", rest))
    return found


def test_the_readme_tells_how_to_make_every_secret_that_is_referred_to():
    used = {
        source["secretRef"]["name"]
        for service in of_kind("Service")
        for source in container(service)["envFrom"]
        if "secretRef" in source
    }
    for thing in of_kind("RabbitmqSource") + of_kind("Queue"):
        used.add(thing["spec"]["rabbitmqClusterReference"]["connectionSecret"]["name"])
    used |= {thing["spec"]["importCredentialsSecret"]["name"] for thing in of_kind("User")}
    told = secrets_in_the_readme()
    assert told.keys() == used
    assert {"uri", "username", "password"} <= told["rabbitmq-source"] & told["rabbitmq-operator"]
    for thing in of_kind("User"):
        assert {"username", "password"} <= told[thing["spec"]["importCredentialsSecret"]["name"]]


def test_the_settings_are_complete_and_each_is_one_that_the_functions_know():
    (configuration,) = of_kind("ConfigMap")
    told = secrets_in_the_readme()
    given = configuration["data"].keys() | told["cvmfs-cloud"]
    known = {name.upper() for name in Settings.model_fields}
    required = {name.upper() for name, field in Settings.model_fields.items() if field.is_required()}
    assert given <= known
    assert required <= given
    assert told["vault-store-keys"] == {"VAULT_ROLE_ID", "VAULT_SECRET_ID"}
    settings = Settings.from_mapping({**configuration["data"], **dict.fromkeys(told["cvmfs-cloud"], "x")})
    assert settings.repository_url == f"{settings.s3_endpoint}/{settings.repository_bucket}"


def test_no_secret_value_is_in_the_configuration():
    (configuration,) = of_kind("ConfigMap")
    hidden = {name.upper() for name, field in Settings.model_fields.items() if "Secret" in str(field.annotation)}
    assert hidden
    assert not hidden & configuration["data"].keys()
    assert of_kind("Secret") == []


def test_the_image_is_one_for_all_and_finds_the_functions_where_it_installs_them():
    assert len({container(service)["image"] for service in of_kind("Service")}) == 1
    recipe = (KNATIVE / "Containerfile").read_text()
    (version,) = set(re.findall(r"python:(\d\.\d+)-", recipe))
    assert f"FUNCTION_SOURCE=/opt/cvmfs-cloud/lib/python{version}/site-packages/functions/main.py" in recipe
    assert re.search(r"^USER 10001(:10001)?$", recipe, re.MULTILINE)


def test_the_network_is_closed_unless_opened():
    policies = {thing["metadata"]["name"]: thing["spec"] for thing in of_kind("NetworkPolicy")}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all(rule.get("from") for spec in policies.values() for rule in spec.get("ingress", []))
    assert all(rule.get("ports") or rule.get("to") for spec in policies.values() for rule in spec.get("egress", []))


def test_who_may_sign_manifests_is_told_in_the_manifests_as_vault_has_it():
    told = {
        path.stem for path in (KNATIVE / "services").glob("*.yaml") if "may sign manifests" in head_of(path).lower()
    }
    assert told == {name for name in FUNCTIONS if '"sha1"' in policy_of(name)}
    assert not [name for name in told if "only" in head_of(KNATIVE / f"services/{name}.yaml")]


def test_the_readme_names_the_steps_that_need_nothing_of_vault_and_each_folder_once():
    text = (KNATIVE / "README.md").read_text()
    without = sorted(name for name in FUNCTIONS if not policy_of(name))
    named = re.search(r"(`[a-z-]+`(?:, `[a-z-]+`)* and `[a-z-]+`) have none", text)
    assert named is not None
    assert sorted(re.findall(r"`([a-z-]+)`", named[1])) == without
    rows = re.findall(r"^\| `(\w+/?)` \|", text, re.MULTILINE)
    assert len(rows) == len(set(rows)) > 2


def head_of(path: Path) -> str:
    """The comment at the top of a manifest."""
    lines = path.read_text().splitlines()
    return " ".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
