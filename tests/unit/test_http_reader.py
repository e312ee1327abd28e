"""Repositories are read over HTTP and from folders in the same way."""

import gzip
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from functions.adapters.http import HttpReader, open_reader
from functions.errors import Permanent, StoreUnavailable

FILES = {
    ".cvmfspublished": b"C1234\n--\n",
    "data/ab/cdef": bytes(range(256)) * 5_000,
    "data/ab/emptyC": b"",
    "data/ab/sp ace%41+\u00e9": b"odd",
}


class Site:
    """A web server on loopback that counts connections and can be told to fail."""

    def __init__(self):
        self.answers = []
        self.connections = 0
        self.headers = {}
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                site.connections += 1
                super().setup()

            def do_GET(self):
                self.answer(with_body=True)

            def do_HEAD(self):
                self.answer(with_body=False)

            def answer(self, *, with_body):
                from urllib.parse import unquote

                path = unquote(self.path).removeprefix("/cvmfs/a.infn.it/")
                status = site.answers.pop(0) if site.answers else (200 if path in FILES else 404)
                body = FILES.get(path, b"") if status == 200 else b"some page"
                self.send_response(status)
                for name, value in site.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}/cvmfs/a.infn.it"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "a folder"
    for path, body in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(body)
    return root


@pytest.fixture(params=["http", "http with slash", "folder", "file URL"])
def reader(request, site, folder):
    return open_reader(
        {
            "http": site.url,
            "http with slash": site.url + "/",
            "folder": str(folder),
            "file URL": folder.as_uri(),
        }[request.param]
    )


@pytest.mark.parametrize("path", FILES, ids=ascii)
def test_files_are_read_as_they_are(reader, path):
    assert reader.fetch(path) == FILES[path]
    assert reader.exists(path)


def test_what_is_not_there_is_none(reader):
    assert reader.fetch("data/no/thing") is None
    assert not reader.exists("data/no/thing")


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "data//x", ""])
def test_a_path_cannot_leave_the_repository(reader, path):
    with pytest.raises(Permanent):
        reader.fetch(path)
    with pytest.raises(Permanent):
        reader.exists(path)


@pytest.mark.parametrize("status", [403, 401, 400, 410, 204])
def test_an_answer_that_is_neither_yes_nor_no_is_an_error(site, status):
    site.answers = [status]
    with pytest.raises(StoreUnavailable, match=str(status)):
        HttpReader(site.url).fetch(".cvmfspublished")


def test_a_server_that_stumbles_once_is_asked_again(site):
    site.answers = [503, 500]
    assert HttpReader(site.url).fetch(".cvmfspublished") == FILES[".cvmfspublished"]


def test_a_server_that_keeps_failing_is_unavailable(site):
    site.answers = [503] * 20
    with pytest.raises(StoreUnavailable, match="503"):
        HttpReader(site.url).fetch(".cvmfspublished")


def test_a_server_that_is_not_there_is_unavailable():
    reader = HttpReader("http://127.0.0.1:9")
    with pytest.raises(StoreUnavailable):
        reader.fetch("x")
    with pytest.raises(StoreUnavailable):
        reader.exists("x")


def test_objects_are_never_inflated_on_the_way(site):
    site.headers = {"Content-Encoding": "gzip"}
    FILES["data/ab/gzip"] = gzip.compress(b"content")
    try:
        assert HttpReader(site.url).fetch("data/ab/gzip") == FILES["data/ab/gzip"]
    finally:
        del FILES["data/ab/gzip"]


def test_connections_are_kept_and_threads_may_share_a_reader(site):
    reader = HttpReader(site.url)
    with ThreadPoolExecutor(8) as pool:
        bodies = list(pool.map(reader.fetch, ["data/ab/cdef"] * 100))
    assert set(bodies) == {FILES["data/ab/cdef"]}
    assert site.connections <= 8


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(Permanent, match="ftp"):
        open_reader("ftp://example.org/cvmfs")
