"""A tiny S3 on loopback that fails where it is told to: before a write is applied, or after it."""

import hashlib
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_PUT(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        service = self.server.service
        with service.lock:
            self.note()
            failure = service.failures.pop(0) if service.failures else None
            status = 500 if failure == "before" else self.apply(body)
            self.answer(500 if failure else status, etag=hashlib.md5(body).hexdigest())

    def apply(self, body):
        objects, path = self.server.service.objects, self.path_of()
        current = objects.get(path)
        wanted = self.headers.get("If-Match")
        if self.headers.get("If-None-Match") == "*" and current is not None:
            return 412
        if wanted is not None and (current is None or wanted.strip('"') != current[1]):
            return 412
        metadata = {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
        objects[path] = (body, hashlib.md5(body).hexdigest(), metadata)
        return 200

    def do_GET(self):
        with self.server.service.lock:
            self.note()
            found = self.server.service.objects.get(self.path_of())
        if found is None:
            self.answer(404)
        else:
            self.answer(200, found[0], etag=found[1], headers=found[2])

    def do_DELETE(self):
        with self.server.service.lock:
            self.note()
            self.server.service.objects.pop(self.path_of(), None)
        self.answer(204)

    def path_of(self):
        return unquote(urlsplit(self.path).path)

    def note(self):
        self.server.service.seen.append((self.command, self.path, dict(self.headers.items())))

    def answer(self, status, body=b"", *, etag="", headers=None):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class StumblingS3:
    """Holds objects by path; `failures` says how the next PUTs end: "before", "after", or None for well.

    `seen` has every request: method, target, headers. Use as a context manager.
    """

    def __init__(self):
        self.objects = {}
        self.failures = []
        self.seen = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.service = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
