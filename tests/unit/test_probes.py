"""Probes of a function that is as busy as it may be: queue-proxy lets them past containerConcurrency."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from functions.local.runtime.instance import listens
from functions.local.servers.ports import fresh_port
from tests.runtime_toys import TOY, calls, wait_until, wish
from tests.unit.test_knative_manifests import MANIFESTS

NEVER_S = 60


@pytest.fixture
def busy(tmp_path, request):
    """Starts a function as its manifest says, and fills it with requests; returns its address."""
    gate = tmp_path / "gate"
    gate.touch()

    def start(name: str) -> str:
        service = MANIFESTS.services[name]
        port, at_once = fresh_port(), service.container_concurrency
        threads = {variable.name: variable.value for variable in service.variables}["THREADS"]
        toy = {"FUNCTION_SOURCE": str(TOY), "FUNCTION_TARGET": "toy", "TOY_FOLDER": str(tmp_path)}
        process = subprocess.Popen(
            [Path(sys.executable).with_name("functions-framework")],
            env={**os.environ, **toy, "THREADS": str(threads), "HOST": "127.0.0.1", "PORT": str(port)},
        )
        request.addfinalizer(lambda: process.wait(NEVER_S))
        request.addfinalizer(process.terminate)
        wait_until(lambda: listens(port))
        address = f"http://127.0.0.1:{port}"
        posts = ThreadPoolExecutor(at_once)
        body = wish(while_there=gate.name).body
        for _ in range(at_once):
            posts.submit(lambda: urlopen(Request(address, data=body, method="POST"), timeout=NEVER_S).close())
        request.addfinalizer(posts.shutdown)
        request.addfinalizer(gate.unlink)
        wait_until(lambda: len(calls(tmp_path, "begin")) == at_once)
        return address

    return start


@pytest.mark.parametrize("name", ["collect-garbage", "publish-transaction"])
def test_a_function_with_all_the_requests_it_may_have_answers_both_probes_at_once(busy, name):
    address = busy(name)
    with ThreadPoolExecutor(2) as probes:
        answers = list(probes.map(lambda path: urlopen(address + path, timeout=10).status, ["/readyz", "/healthz"]))
    assert answers == [200, 200]
