"""The reader of the standard library sees what the verifying reader sees, and no damage passes it."""

from __future__ import annotations

import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hpcbench.tasks.repository import ReadError, Repository
from tests.world import World


def member(name: str, body: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = len(body)
    return info


class _Server(ThreadingHTTPServer):
    """Serves what a memory store holds."""

    store: Mapping[str, bytes]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        assert isinstance(self.server, _Server)
        body = self.server.store.get(self.path.removeprefix("/repository/"))
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Served = tuple[World, dict[str, bytes], Repository]


@pytest.fixture
def served() -> Iterator[Served]:
    """A repository with files, folders and an archive's nested catalog; what it is served from; its reader."""
    world = World()
    world.repository()
    for name in ("a", "deep/er/b", "c"):
        world.upload(f"cvmfs/{name}", f"content of {name}".encode() * 20)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(member("lib/x", b"1"), io.BytesIO(b"1"))
        tar.addfile(member("lib/y", b"22"), io.BytesIO(b"22"))
    world.upload("cvmfs/sw/tools.tar", packed.getvalue())
    world.run_until_quiet()
    store = world.store_of("alice.infn.it")
    files = {info.path: blob.body for info in store.list("") if (blob := store.get(info.path)) is not None}
    server = _Server(("127.0.0.1", 0), _Handler)
    server.store = files
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    reader = Repository(f"http://127.0.0.1:{server.server_address[1]}/repository")
    yield world, files, reader
    reader.close()
    server.shutdown()
    server.server_close()
    thread.join()
    world.close()


def test_it_finds_the_files_that_the_verifying_reader_finds(served: Served) -> None:
    world, _, reader = served
    found = {file.path: reader.read(file) for file in reader.files(reader.manifest()["C"])}
    with world.reader() as snapshot:
        wanted = {path: snapshot.read(path) for path, entry in snapshot.walk() if entry.is_regular}
    assert found == wanted
    assert found["/sw/tools/lib/y"] == b"22"
    assert reader.manifest()["N"] == "alice.infn.it"


def test_a_damaged_object_a_missing_one_and_a_damaged_catalog_are_refused(served: Served) -> None:
    _, files, reader = served
    root = reader.manifest()["C"]
    file = next(file for file in reader.files(root) if file.path == "/a")
    address = f"data/{file.sha1[:2]}/{file.sha1[2:]}"
    files[address] = files[address][:-1] + b"!"
    with pytest.raises(ReadError, match="another hash"):
        reader.read(file)
    del files[address]
    with pytest.raises(ReadError, match="answered 404"):
        reader.read(file)
    catalog = f"data/{root[:2]}/{root[2:]}C"
    files[catalog] = files[catalog][:-1]
    with pytest.raises(ReadError, match="another hash"):
        list(reader.files(root))
