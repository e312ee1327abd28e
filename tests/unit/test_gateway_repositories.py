"""The JSON API over a whole service in memory: what users and operators are told of repositories."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions.cvmfs.reader import Repository
from functions.cvmfs.whitelist import SignedWhitelist, Whitelist
from functions.publishing.head import MANIFEST_PATH, WHITELIST_PATH
from functions.publishing.records import RepositorySettings, Standing, change_record, record_path
from tests.gateway_client import Gateway
from tests.world import World

ALICE = "alice.infn.it"


@pytest.fixture
def gateway(world):
    return Gateway(world)


def reader(world: World, fqrn: str = ALICE) -> Repository:
    def fetch(path: str) -> bytes | None:
        blob = world.store_of(fqrn).get(path)
        return None if blob is None else blob.body

    public = world.keys.ensure_keys(fqrn, subject="", group=None, now=world.clock.now).public_key
    return Repository.open(fetch, public_keys=[public], fqrn=fqrn, now=world.clock.now)


def test_a_service_without_repositories_says_so(gateway):
    answer = gateway.get("/repositories")
    assert (answer.status_code, answer.json()) == (200, {"repositories": [], "next": None})
    assert answer.headers["cache-control"] == "no-store"


def test_all_repositories_are_listed_with_what_matters_of_each(world, gateway):
    world.repository("alice")
    world.repository("bob", group="cms")
    world.upload("cvmfs/fine", b"1")
    world.upload("cvmfs/a//b", b"2")
    world.run_until_quiet()
    alice, cms = gateway.get("/repositories").json()["repositories"]
    manifest = reader(world).manifest
    assert (alice["name"], alice["owner"], alice["group"], alice["bucket"]) == (ALICE, "alice", None, "alice")
    assert (alice["state"], alice["revision"], alice["problems"]) == ("active", manifest.revision, 1)
    assert alice["published_at"].startswith("2026-03-01T12:00:")
    assert 29 < alice["whitelist_days_left"] <= 30
    assert (cms["name"], cms["owner"], cms["group"], cms["problems"]) == ("cms.infn.it", "bob", "cms", 0)


def test_pages_follow_each_other_and_leave_nobody_out(world, gateway):
    names = sorted(["ab.infn.it", "ab.infn.it-x.org", "ab.infn.it.org", "aba.infn.it", "zz.infn.it"])
    for name in names:
        world.state.put(record_path(name), b"{}")
    seen = []
    following = "/repositories?limit=2"
    while following:
        page = gateway.get(following).json()
        seen += [repository["name"] for repository in page["repositories"]]
        assert len(page["repositories"]) <= 2
        following = page["next"]
    assert seen == names


def test_one_repository_is_told_in_full(world, gateway):
    world.repository()
    world.upload("cvmfs/dir/file", b"content")
    world.upload("cvmfs/nested/.cvmfscatalog")
    world.upload("cvmfs/nested/file", b"more")
    world.run_until_quiet()
    told = gateway.get(f"/repositories/{ALICE}").json()
    seen = reader(world)
    paths = [path for path, _ in seen.snapshot().walk()]
    assert (told["revision"], told["root_hash"]) == (seen.manifest.revision, str(seen.manifest.root))
    assert (told["entries"], told["bytes"], told["catalogs"]) == (len(paths), 11, 2)
    assert told["counters"]["self"]["nested"] == 1
    assert told["counters"]["subtree"]["file_size"] == 4
    assert (told["faults"], told["state"], told["waiting_changes"]) == ([], "active", 0)
    assert told["url"] == f"http://s3.example.org/cvmfs/{ALICE}"
    assert told["settings"]["unpack_archives"] is True
    assert told["mount"]["configuration"].splitlines()[0] == "CVMFS_SERVER_URL=http://s3.example.org/cvmfs/@fqrn@"
    assert told["whitelist_valid_until"].startswith("2026-03-31T")


def test_changes_that_wait_are_counted_and_without_a_broker_not_known(world, gateway):
    world.repository()
    world.bus.send_changes(ALICE, [b"1", b"2"])
    assert gateway.get(f"/repositories/{ALICE}").json()["waiting_changes"] == 2
    world.bus.available = False
    answer = gateway.get(f"/repositories/{ALICE}")
    assert (answer.status_code, answer.json()["waiting_changes"]) == (200, None)


def test_settings_and_standing_are_told(world, gateway):
    world.repository()
    change_record(
        world.state,
        ALICE,
        lambda record: record.model_copy(
            update={"standing": Standing.SUSPENDED, "settings": RepositorySettings(files_limit=10)}
        ),
    )
    told = gateway.get(f"/repositories/{ALICE}").json()
    assert (told["state"], told["settings"]["files_limit"]) == ("suspended", 10)


def test_a_repository_before_its_first_revision_is_being_created(world, gateway):
    world.repository()
    world.stores.clear()
    told = gateway.get(f"/repositories/{ALICE}").json()
    assert (told["state"], told["revision"], told["entries"], told["faults"]) == ("creating", None, None, [])
    assert gateway.get("/repositories").json()["repositories"][0]["state"] == "creating"


def test_problems_are_told_with_reason_and_next_step(world, gateway):
    world.repository()
    world.upload("cvmfs/a//b", b"2")
    world.run_until_quiet()
    told = gateway.get(f"/repositories/{ALICE}/problems").json()
    (problem,) = told["problems"]
    assert (told["repository"], problem["key"], problem["code"]) == (
        ALICE,
        "cvmfs/a//b",
        world.problems()["cvmfs/a//b"].code,
    )
    assert problem["reason"]
    assert problem["hint"]


DAMAGE = [
    pytest.param(MANIFEST_PATH, lambda body: body[:-20], "not signed", id="signature cut short"),
    pytest.param(MANIFEST_PATH, lambda body: body[:-5] + b"00000", "not signed", id="signature of nobody"),
    pytest.param(MANIFEST_PATH, lambda _: b"nonsense", "", id="no manifest"),
    pytest.param(WHITELIST_PATH, lambda _: b"", "", id="no whitelist"),
    pytest.param(WHITELIST_PATH, lambda body: body.replace(b"N" + ALICE.encode(), b"Nbob.infn.it"), "", id="renamed"),
]


@pytest.mark.parametrize(("path", "damage", "said"), DAMAGE)
def test_damage_is_told_and_hides_no_other_repository(world, gateway, path, damage, said):
    world.repository("alice")
    world.repository("bob")
    store = world.store_of(ALICE)
    store.put(path, damage(store.get(path).body))
    told = gateway.get(f"/repositories/{ALICE}").json()
    assert told["state"] == "damaged"
    assert said in " ".join(told["faults"])
    listed = {found["name"]: found["state"] for found in gateway.get("/repositories").json()["repositories"]}
    assert listed["bob.infn.it"] == "active"


def test_a_manifest_of_another_repository_is_damage(world, gateway):
    world.repository("alice")
    world.repository("bob")
    world.store_of(ALICE).put(MANIFEST_PATH, world.store_of("bob.infn.it").get(MANIFEST_PATH).body)
    (alice, _) = gateway.get("/repositories").json()["repositories"]
    assert (alice["state"], alice["revision"]) == ("damaged", None)


def test_a_certificate_that_the_whitelist_does_not_list_is_damage(world, gateway):
    world.repository("alice")
    world.repository("bob")
    bobs = SignedWhitelist.from_bytes(world.store_of("bob.infn.it").get(WHITELIST_PATH).body).unverified
    other = Whitelist.make(ALICE, bobs.fingerprints, now=world.clock.now)
    signed = other.sign(world.keys.signer(ALICE), bobs.fingerprints[0].algorithm)
    world.store_of(ALICE).put(WHITELIST_PATH, signed.to_bytes())
    told = gateway.get(f"/repositories/{ALICE}").json()
    assert told["state"] == "damaged"
    assert "does not admit" in " ".join(told["faults"])


def test_a_whitelist_that_has_ended_is_told(world, gateway):
    world.repository()
    world.clock.now += timedelta(days=31)
    told = gateway.get(f"/repositories/{ALICE}").json()
    assert (told["state"], told["whitelist_days_left"] < 0) == ("damaged", True)
    assert "ended at 2026-03-31" in " ".join(told["faults"])


def test_a_record_that_nobody_can_read_is_told_and_hides_no_other(world, gateway):
    world.repository("alice")
    world.repository("bob")
    world.state.put(record_path(ALICE), b"{")
    alice, bob = gateway.get("/repositories").json()["repositories"]
    assert (alice["state"], alice["owner"], bob["state"]) == ("damaged", None, "active")
    assert gateway.get(f"/repositories/{ALICE}").json()["settings"] is None


@pytest.mark.parametrize("path", ["/repositories/nobody.infn.it", "/repositories/nobody.infn.it/problems"])
def test_an_unknown_name_is_a_problem_with_404(gateway, path):
    answer = gateway.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "repository-unknown")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "nobody.infn.it" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        pytest.param("/repositories/alice", "path.fqrn", id="no dot"),
        pytest.param("/repositories/..%2F..%2Fx", None, id="slashes"),
        pytest.param("/repositories/a%0A.b", "path.fqrn", id="line break"),
        pytest.param(f"/repositories/{'a' * 59}.b", "path.fqrn", id="too long"),
        pytest.param("/repositories/x/problems", "path.fqrn", id="problems"),
        pytest.param("/repositories?limit=0", "query.limit", id="limit too small"),
        pytest.param("/repositories?limit=many", "query.limit", id="limit no number"),
        pytest.param("/repositories?limit=501", "query.limit", id="limit too large"),
        pytest.param("/repositories?after=/", "query.after", id="after no name"),
    ],
)
def test_what_is_malformed_is_a_problem_that_names_the_fault(gateway, path, place):
    answer = gateway.get(path)
    assert answer.headers["content-type"] == "application/problem+json"
    if place is None:
        assert answer.status_code == 404
        return
    assert (answer.status_code, answer.json()["code"]) == (422, "request-malformed")
    assert answer.json()["faults"][0].startswith(f"{place}: ")


@pytest.mark.parametrize("path", ["/repositories", f"/repositories/{ALICE}", f"/repositories/{ALICE}/problems"])
def test_a_store_that_is_down_is_503_and_try_again(world, gateway, path):
    world.repository()
    world.state.available = False
    answer = gateway.get(path)
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["cache-control"] == "no-store"


def test_a_repository_store_that_is_down_is_503_too(world, gateway):
    world.repository()
    world.store_of(ALICE).available = False
    assert gateway.get(f"/repositories/{ALICE}").status_code == 503
    assert gateway.get("/repositories").status_code == 503


def test_nothing_can_be_changed_here(world, gateway):
    world.repository()
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert gateway.request(method, f"/repositories/{ALICE}").status_code == 405
