"""A function for trying the local runtime: does what the JSON in a request's body says and writes down every call.

Run as a program it is a plain HTTP server; loaded by functions-framework its target is `toy`. The folder in TOY_FOLDER
receives ``calls.jsonl``; while a file ``broken`` is in it, no server starts.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(os.environ["TOY_FOLDER"])


def act(method: str, path: str, headers: dict[str, str], body: bytes) -> int:
    """Answer probes; do what a POST asks for: {"sleep": seconds, "status": number}."""
    if method == "GET":
        return 200
    try:
        wish = json.loads(body)
    except ValueError:
        wish = {}
    _write("begin", path, headers, body)
    while wish.get("while_there") and (FOLDER / wish["while_there"]).exists():
        time.sleep(0.01)
    time.sleep(wish.get("sleep", 0))
    _write("end", path, headers, body)
    return wish.get("status", 204)


def _write(what: str, path: str, headers: dict[str, str], body: bytes) -> None:
    call = {"what": what, "pid": os.getpid(), "path": path, "headers": headers, "body": body.decode()}
    with (FOLDER / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\n")


def toy(request):
    """The functions-framework target."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    return "", act(request.method, request.path, headers, request.get_data())


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.do_POST()

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response(act(self.command, self.path, headers, body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    if (FOLDER / "broken").exists():
        sys.exit("the file `broken` is there")
    if os.environ.get("TOY_STUBBORN"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write(json.dumps(dict(os.environ)) + "\n")
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
