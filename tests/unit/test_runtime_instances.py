"""The instances of one Service, with real processes: from zero, up, down, crashed, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from functions.local.runtime.errors import SinkError, StartError
from functions.local.runtime.instance import listens
from functions.local.runtime.instances import ServiceInstances
from functions.local.servers.ports import fresh_port
from tests.runtime_toys import calls, toy_instances, wait_until, wish


@pytest.fixture
def run(tmp_path, request):
    """Starts toy instances with the given limits and stops them at the end."""

    def start(**limits: object) -> ServiceInstances:
        instances = toy_instances(tmp_path, **limits)
        request.addfinalizer(lambda: instances.stop(grace_s=5.0))
        instances.start()
        return instances

    return start


@pytest.fixture
def gate(tmp_path):
    """A file; requests that wish `while_there=gate.name` stay in flight until it is removed."""
    path = tmp_path / "gate"
    path.touch()
    yield path
    path.unlink(missing_ok=True)


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def test_nothing_runs_until_the_first_request_which_starts_an_instance(run):
    instances = run()
    assert instances.status().pids == []
    assert instances.send(wish(status=201)).status == 201
    status = instances.status()
    assert (status.ready, status.started, len(status.cold_starts_s)) == (1, 1, 1)
    assert 0 < status.cold_starts_s[0] < 60


def test_the_second_request_finds_the_instance_of_the_first(run):
    instances = run(most=3)
    assert {instances.send(wish()).status for _ in range(5)} == {204}
    assert instances.status().started == 1


def test_an_instance_gets_no_more_requests_at_once_than_its_concurrency(run, tmp_path):
    instances = run(concurrency=2, most=1)
    with ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda _: instances.send(wish(sleep=0.05)).status, range(16)))
    assert answers == [204] * 16
    most = level = 0
    for line in (tmp_path / "calls.jsonl").read_text().splitlines():
        level += 1 if json.loads(line)["what"] == "begin" else -1
        most = max(most, level)
    assert most == 2
    assert instances.status().started == 1


def test_more_instances_come_while_all_are_busy_but_not_more_than_the_maximum(run, tmp_path, gate):
    instances = run(concurrency=1, most=2)
    with ThreadPoolExecutor(4) as senders:
        answers = [senders.submit(instances.send, wish(while_there=gate.name)) for _ in range(4)]
        wait_until(lambda: len(calls(tmp_path, "begin")) == 2, "both instances busy")
        status = instances.status()
        assert (status.ready, status.starting, status.in_flight, status.waiting) == (2, 0, 2, 2)
        gate.unlink()
        assert [answer.result().status for answer in answers] == [204] * 4
    assert len({call["pid"] for call in calls(tmp_path)}) == 2


def test_an_answer_that_does_not_come_in_time_is_504_and_frees_the_slot(run, gate):
    instances = run(timeout_s=0.3)
    assert instances.send(wish()).status == 204
    assert instances.send(wish(while_there=gate.name)).status == 504
    assert instances.status().in_flight == 0
    assert instances.send(wish()).status == 204


def test_idle_instances_go_until_none_is_left_and_the_next_request_starts_again(run):
    instances = run(idle_s=0.5)
    assert instances.send(wish()).status == 204
    pid = instances.status().pids[0]
    wait_until(lambda: instances.status().ready == 0 and gone(pid), "scaled to zero")
    assert instances.send(wish()).status == 204
    assert instances.status().started == 2
    assert instances.status().crashed == 0


def test_an_instance_that_is_always_wanted_is_ready_after_the_start_and_stays(run):
    instances = run(least=1, idle_s=0.1)
    pids = instances.status().pids
    assert len(pids) == 1
    assert instances.send(wish(sleep=1.0)).status == 204
    assert instances.status().pids == pids


def test_a_fixed_port_is_where_the_instance_listens(run):
    port = fresh_port()
    instances = run(least=1, port=port)
    assert instances.status().ports == [port]
    assert listens(port)


def test_a_fixed_port_that_is_taken_is_said_at_the_start(tmp_path):
    first = toy_instances(tmp_path / "first", port=fresh_port(), least=1)
    (tmp_path / "first").mkdir()
    first.start()
    second = toy_instances(tmp_path, port=first.status().ports[0], least=1)
    try:
        with pytest.raises(StartError, match="toy"):
            second.start()
    finally:
        second.stop(grace_s=1.0)
        first.stop(grace_s=1.0)


def test_a_kill_in_the_middle_of_a_request_breaks_it_and_the_next_request_gets_a_new_instance(run, tmp_path, gate):
    instances = run()
    with ThreadPoolExecutor(1) as sender:
        answer = sender.submit(instances.send, wish(while_there=gate.name))
        wait_until(lambda: calls(tmp_path, "begin"))
        os.kill(instances.status().pids[0], signal.SIGKILL)
        with pytest.raises(SinkError):
            answer.result(timeout=60)
    gate.unlink()
    assert instances.send(wish()).status == 204
    wait_until(lambda: instances.status().crashed == 1)
    assert instances.status().started == 2


def test_an_instance_that_dies_while_idle_is_noticed_and_the_next_request_gets_a_new_one(run):
    instances = run()
    assert instances.send(wish()).status == 204
    pid = instances.status().pids[0]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: instances.status().crashed == 1)
    assert instances.send(wish()).status == 204
    assert instances.status().pids != [pid]


def test_an_instance_that_does_not_start_is_503_until_it_does(run, tmp_path):
    (tmp_path / "broken").touch()
    instances = run()
    assert instances.send(wish()).status == 503
    assert instances.status().failed_starts == 1
    assert "the file `broken` is there" in instances.log.read_text()
    (tmp_path / "broken").unlink()
    wait_until(lambda: instances.send(wish()).status == 204)


def test_starts_that_fail_are_spaced_out(run, tmp_path):
    (tmp_path / "broken").touch()
    instances = run()
    assert {instances.send(wish()).status for _ in range(50)} == {503}
    assert instances.status().failed_starts < 50


def test_stopping_lets_a_request_in_flight_finish_and_refuses_new_ones(tmp_path, gate):
    instances = toy_instances(tmp_path)
    instances.start()
    with ThreadPoolExecutor(2) as threads:
        answer = threads.submit(instances.send, wish(while_there=gate.name))
        wait_until(lambda: calls(tmp_path, "begin"))
        pid = instances.status().pids[0]
        stopped = threads.submit(instances.stop, grace_s=60.0)
        wait_until(lambda: _refuses(instances))
        assert not stopped.done()
        gate.unlink()
        stopped.result(timeout=60)
        assert answer.result().status == 204
    assert gone(pid)


def _refuses(instances: ServiceInstances) -> bool:
    with ThreadPoolExecutor(1) as thread:
        try:
            thread.submit(instances.send, wish()).result(timeout=0)
        except SinkError:
            return True
        except TimeoutError:
            return False
    return False


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(tmp_path):
    instances = toy_instances(tmp_path, stubborn=True, least=1)
    instances.start()
    pid = instances.status().pids[0]
    instances.stop(grace_s=0.3)
    assert gone(pid)


def test_stopping_while_an_instance_starts_leaves_nothing_behind(tmp_path):
    instances = toy_instances(tmp_path)
    instances.start()
    sender = threading.Thread(target=lambda: instances.send(wish()))
    sender.start()
    wait_until(lambda: instances.status().starting)
    instances.stop(grace_s=5.0)
    sender.join(60)
    assert not sender.is_alive()
    assert instances.status().pids == []


def test_instances_die_with_the_process_that_runs_them_even_if_it_is_killed(tmp_path):
    program = textwrap.dedent("""
        import os, sys, time
        from pathlib import Path
        from tests.runtime_toys import toy_instances
        instances = toy_instances(Path(sys.argv[1]), least=1)
        instances.start()
        print(instances.status().pids[0], flush=True)
        time.sleep(600)
    """)
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, env={"PYTHONPATH": str(root)}
    ) as runner:
        pid = int(runner.stdout.readline())
        assert not gone(pid)
        runner.kill()
    wait_until(lambda: gone(pid))


def test_an_instance_sees_its_settings_and_its_port_and_nothing_of_our_environment(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org")
    monkeypatch.setenv("S3_SECRET_KEY", "mine")
    instances = run(least=1)
    seen = json.loads(wait_until(instances.log.read_text))
    assert seen["TOY_FOLDER"] == str(tmp_path)
    assert int(seen["PORT"]) == instances.status().ports[0]
    assert seen["FUNCTION_SOURCE"].endswith("functions/main.py")
    assert not {"HTTP_PROXY", "S3_SECRET_KEY"} & seen.keys()
