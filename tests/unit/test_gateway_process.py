"""The gateway as a process of its own. Nothing listens where its broker should be: it has to start all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from functions.local.servers.ports import fresh_port
from gateway.__main__ import check_bind_address
from gateway.errors import BindError

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "S3_ENDPOINT": "http://127.0.0.1:9",
    "S3_ACCESS_KEY": "access",
    "S3_SECRET_KEY": "secret",
    "REPOSITORY_URL": "http://127.0.0.1:9/cvmfs",
    "AMQP_URL": "amqp://127.0.0.1:9",
}
START_S = 60


def start(**settings):
    return subprocess.Popen(
        [sys.executable, "-m", "gateway"],
        cwd=ROOT,
        env={**ENVIRONMENT, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_allowed(address):
    check_bind_address(address)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "10.0.0.7", "example.org", "", "127.0.0.1.example.org"])
def test_an_address_that_others_reach_is_refused_as_long_as_nobody_has_to_sign_in(address):
    with pytest.raises(BindError, match="no sign-in yet"):
        check_bind_address(address)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"BIND_ADDRESS": "0.0.0.0"}, "no sign-in yet", id="address that others reach"),
        pytest.param({"PORT": "http"}, "PORT", id="port that is no number"),
    ],
)
def test_a_gateway_that_cannot_serve_says_why_and_exits_with_2(settings, said):
    process = start(**settings)
    output, _ = process.communicate(timeout=START_S)
    assert process.returncode == 2
    assert said in output
    assert "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_gateway_serves_until_it_is_told_to_stop_and_exits_with_0(number):
    port = fresh_port()
    process = start(PORT=str(port))
    try:
        assert _answer(f"http://127.0.0.1:{port}/healthz", process).text == "ok\n"
        answer = httpx.post(f"http://127.0.0.1:{port}/events", content=b"")
        assert answer.status_code == 400
        process.send_signal(number)
        output, _ = process.communicate(timeout=START_S)
        assert (process.returncode, "Traceback" in output) == (0, False), output
    finally:
        process.kill()
        process.communicate()


def _answer(url, process):
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            return httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    pytest.fail(process.communicate()[0])
