"""The command line as a process: quick help, exit codes, pipes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from functions.local import background
from functions.local.stack_file import StackFile
from gateway.cli.app import app
from tests.cli_repository import FQRN, CliRepository, run

COMMAND = (sys.executable, "-c", "from gateway.cli import main; main()")
REPO_COMMANDS = "mkfs publish check ls cat tag rollback gc resign import update-info"


def process(*arguments: str, home: os.PathLike[str] | None = None) -> subprocess.CompletedProcess[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "REPOSITORY_URL"}
    if home is not None:
        environment["PYTHONPATH"] = str(Path.cwd())
    return subprocess.run([*COMMAND, *arguments], capture_output=True, check=False, cwd=home, env=environment)


def test_help_is_there_at_once_and_tells_the_exit_codes():
    took = []
    for _ in range(3):
        began = time.monotonic()
        result = process("--help")
        took.append(time.monotonic() - began)
    assert result.returncode == 0
    text = " ".join(result.stdout.decode().split())
    assert "Exit codes: 0 done; 1 findings, or refused; 2 wrong usage; 3 failed for now" in text
    assert min(took) < 3


def test_help_loads_nothing_that_only_commands_need():
    heavy = {
        "boto3",
        "obstore",
        "pika",
        "hvac",
        "fastapi",
        "cryptography",
        "functions.wiring",
        "functions.local.background",
    }
    code = (
        "import sys; from typer.testing import CliRunner; from gateway.cli.app import app; "
        "CliRunner().invoke(app, ['--help']); print(*sorted(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert heavy.isdisjoint(result.stdout.split())


@pytest.mark.parametrize(
    "command",
    [
        (),
        ("repo",),
        ("stack",),
        ("queue",),
        *((group, name) for group, names in (("repo", REPO_COMMANDS),) for name in names.split()),
        *(("stack", name) for name in ("up", "down", "status", "user")),
        *(("queue", name) for name in ("list", "show", "redrive", "drop")),
        ("status",),
        ("problems",),
        ("wait",),
        ("demo",),
    ],
    ids=" ".join,
)
def test_every_command_has_help_with_the_exit_codes(command):
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Exit codes:" in result.stdout


def test_a_whole_story_in_processes(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(b"content")
    options = ("--storage", "dir:repository", "--keys", "keys")
    made = process("repo", "mkfs", FQRN, *options, home=tmp_path)
    assert (made.returncode, b"Next: cvmfs-cloud repo publish" in made.stderr) == (0, True)
    published = process("repo", "publish", "--from", "tree", *options, home=tmp_path)
    assert (published.returncode, published.stdout.startswith(b"Published sw.example.org, revision 2")) == (0, True)
    shown = process("repo", "cat", "repository", "/file", "--key", f"keys/{FQRN}.pub", home=tmp_path)
    assert (shown.returncode, shown.stdout, shown.stderr) == (0, b"content", b"")
    checked = process("repo", "check", "repository", "--key", f"keys/{FQRN}.pub", home=tmp_path)
    assert checked.returncode == 0


def test_errors_are_one_message_and_never_a_traceback(tmp_path):
    result = process("repo", "ls", str(tmp_path))
    assert result.returncode == 1
    assert result.stderr.startswith(b"Error: The repository is damaged: .cvmfspublished does not exist.")
    assert b"Traceback" not in result.stderr


def test_a_reader_that_stops_early_is_no_error_to_talk_about(tmp_path):
    repository = CliRepository.copy(tmp_path)
    for number in range(3000):
        (repository.tree / f"{number:0100}").touch()
    repository.published()
    shell = f"'{sys.executable}' -c 'from gateway.cli import main; main()' repo ls '{repository.folder}' -R | head -1"
    result = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, check=True)
    assert result.stdout.count(b"\n") == 1
    assert b"Traceback" not in result.stderr


def test_the_stack_commands_say_when_nothing_runs(tmp_path):
    assert run("stack", "status", "--folder", tmp_path).exit_code == 1
    stopped = run("stack", "down", "--folder", tmp_path)
    assert (stopped.exit_code, stopped.stdout) == (0, f"No stack runs in {tmp_path}.\n")


def test_a_started_stack_says_where_everything_is(tmp_path, monkeypatch):
    def up(folder, *, progress):
        progress(f"starting in {folder}")
        return StackFile(1, 1, "http://gateway", "http://s3/cvmfs", "http://s3", "http://rabbit", "http://vault", {})

    monkeypatch.setattr(background, "up", up)
    result = run("stack", "up", "--folder", tmp_path)
    assert (result.exit_code, result.stderr) == (0, f"starting in {tmp_path}\n")
    assert "gateway       http://gateway\n" in result.stdout


SERVICE = {"ready": 1, "started": 2, "crashed": 1, "failed_starts": 0}
RUNNING = {
    "gateway_url": "http://gateway",
    "s3_url": "http://s3",
    "repository_url": "http://s3/cvmfs",
    "vault_url": "http://vault",
    "management_url": "http://rabbit",
    "servers": {"RadosGW": True, "RabbitMQ": False},
    "radosgw_restarts": 1,
    "services": {"gateway": SERVICE, "store-keys": SERVICE},
    "sources": {"store-keys": {"handled": 7, "nacked": 3, "connected": False}},
    "timers": {"late-buckets": {"schedule": "* * * * *", "next_time": "2026-11-26T07:30:00+00:00", "sent": 5}},
}


def test_a_running_stack_is_told_in_lines_that_people_read(tmp_path, monkeypatch):
    monkeypatch.setattr(background, "status", lambda _folder: RUNNING)
    shown = run("stack", "status", "--folder", tmp_path).stdout.splitlines()
    assert "servers      RadosGW, RabbitMQ (down); RadosGW restarted 1 time" in shown
    assert [line.split() for line in shown if line.startswith(("store-keys", "gateway  1", "late-buckets"))] == [
        ["store-keys", "1", "2", "1", "7", "3"],
        ["late-buckets", "*", "*", "*", "*", "*", "2026-11-26T07:30:00+00:00", "5"],
    ]
    assert shown[-1] == "Not connected to RabbitMQ: store-keys."


def test_a_stack_that_has_just_started_says_where_it_is(tmp_path, monkeypatch):
    addresses = {name: value for name, value in RUNNING.items() if name.endswith("_url")}
    monkeypatch.setattr(background, "status", lambda _folder: addresses)
    shown = run("stack", "status", "--folder", tmp_path)
    assert (shown.exit_code, "gateway      http://gateway" in shown.stdout) == (0, True)


def test_an_s3_user_needs_a_running_stack(tmp_path):
    result = run("stack", "user", "alice", "--folder", tmp_path)
    assert result.exit_code == 1
    assert "cvmfs-cloud stack up" in result.stderr


def test_the_demo_does_not_remove_what_is_not_its_own(tmp_path):
    (tmp_path / "thesis.tex").touch()
    result = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path)])
    assert result.exit_code == 1
    assert (tmp_path / "thesis.tex").exists()


def test_the_readme_shows_every_command():
    readme = (Path(__file__).parents[2] / "gateway" / "cli" / "README.md").read_text()
    shown = {name for line in readme.splitlines() if line.startswith("### ") for name in line.split("`")[1::2]}
    alone = {command.name for command in app.registered_commands}
    grouped = {
        f"{group.name} {command.name}"
        for group in app.registered_groups
        for command in group.typer_instance.registered_commands
    }
    assert shown == alone | grouped


# What goes wrong is one line, with the next step


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nosuch",), "Error: No such command 'nosuch'. See `cvmfs-cloud --help`."),
        (("--nosuch",), "Error: No such option: --nosuch. See `cvmfs-cloud --help`."),
        (("queue", "show"), "Error: Missing argument 'STEP'. See `cvmfs-cloud queue show --help`."),
        (
            ("sync",),
            "Error: Invalid value: name one repository, or all of them with --all. See `cvmfs-cloud sync --help`.",
        ),
    ],
)
def test_wrong_usage_is_one_line_that_says_where_to_read_on(arguments, told):
    result = CliRunner().invoke(app, arguments, prog_name="cvmfs-cloud")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told + "\n")


def test_a_group_without_a_command_shows_its_help():
    result = run("queue")
    assert result.exit_code == 2
    assert "redrive" in result.output


ELSEWHERE = {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "s3cret", "REPOSITORY_URL": "http://x", "AMQP_URL": "s3cret"}


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (("queue", "list"), ELSEWHERE, "The address of RabbitMQ is no URL: write amqp://HOST:PORT"),
        (("tag", FQRN, "-a", "v1"), ELSEWHERE, "The address of RabbitMQ is no URL: write amqp://HOST:PORT"),
        (("tag", FQRN, "-a", "v1", "--gateway", "host:80"), {}, "The address of the gateway is no URL: write http://"),
        (("problems", FQRN), ELSEWHERE | {"S3_ENDPOINT": "host"}, "S3_ENDPOINT is no URL: write http://HOST:PORT"),
        (
            ("repo", "check", "s3://cvmfs/x"),
            {"AWS_ENDPOINT_URL": "http://:80", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"},
            "AWS_ENDPOINT_URL is no URL: write http://HOST:PORT",
        ),
    ],
    ids=["queue", "wish", "gateway", "S3", "storage"],
)
def test_an_address_that_is_none_is_told_without_what_it_may_hold(tmp_path, monkeypatch, arguments, environment, told):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments, environment=environment)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {told}")
    assert "s3cret" not in result.stderr


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    result = run("stack", "up", "--folder", tmp_path / "file" / "stack")
    assert (result.exit_code, result.stderr) == (1, f"Error: {tmp_path / 'file' / 'stack'}: Not a directory.\n")


def test_ctrl_c_ends_with_a_line_and_the_code_of_shells(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(background, "status", interrupted)
    result = run("stack", "status")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_ctrl_c_while_the_command_is_loaded_shows_no_traceback():
    code = "import sys; from gateway.cli import main; sys.modules['gateway.cli.commands'] = Stop(); main()"
    stop = "class Stop:\n    def __getattr__(self, name): raise KeyboardInterrupt\n"
    result = subprocess.run([sys.executable, "-c", stop + code], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (130, b"")


class InterruptedStart:
    """A process that is being started when somebody presses Ctrl-C."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def poll(self):
        raise KeyboardInterrupt

    def terminate(self):
        self.calls.append("terminate")

    def wait(self):
        self.calls.append("wait")


def test_ctrl_c_while_a_stack_starts_stops_it_again(tmp_path, monkeypatch):
    started = InterruptedStart()
    monkeypatch.setattr(background.subprocess, "Popen", lambda *_, **__: started)
    result = run("stack", "up", "--folder", tmp_path)
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")
    assert started.calls == ["terminate", "wait"]
