"""A repository in a folder, worked on through the command line inside this process."""

from __future__ import annotations

import atexit
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import mkdtemp

from typer.testing import CliRunner, Result

from functions.cvmfs.reader import Repository
from gateway.cli.app import app

FQRN = "sw.example.org"


def run(*arguments: object, environment: dict[str, str | None] | None = None) -> Result:
    """Run ``cvmfs-cloud`` with some arguments; an error that no user should see comes out as it is."""
    clean: dict[str, str | None] = {"REPOSITORY_URL": None, "TERM": "dumb", "COLUMNS": "200"}
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=clean | (environment or {}))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@cache
def _made() -> Path:
    """A repository and its keys, made once; the folder is copied, never changed."""
    folder = Path(mkdtemp(prefix="cvmfs-cli-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = run("repo", "mkfs", FQRN, "-g", "--storage", f"dir:{folder / 'repository'}", "--keys", folder / "keys")
    assert made.exit_code == 0, made.stderr
    return folder


@dataclass(frozen=True)
class CliRepository:
    """One repository: its folder, its keys, and a tree to publish from."""

    home: Path

    @classmethod
    def copy(cls, home: Path) -> CliRepository:
        """A fresh copy, at revision 1, with an empty tree."""
        shutil.copytree(_made(), home, dirs_exist_ok=True)
        (home / "tree").mkdir()
        return cls(home)

    @property
    def folder(self) -> Path:
        return self.home / "repository"

    @property
    def storage(self) -> str:
        return f"dir:{self.folder}"

    @property
    def keys(self) -> Path:
        return self.home / "keys"

    @property
    def public_key(self) -> Path:
        return self.keys / f"{FQRN}.pub"

    @property
    def tree(self) -> Path:
        return self.home / "tree"

    def publish(self, *options: object, source: Path | None = None) -> Result:
        return run(
            *(
                "repo",
                "publish",
                "--from",
                source or self.tree,
                "--storage",
                self.storage,
                "--keys",
                self.keys,
                *options,
            )
        )

    def published(self, *options: object) -> dict:
        """Publish, which must succeed, and return what it says of itself."""
        result = self.publish("--json", *options)
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    def reader(self) -> Repository:
        """The verifying reader."""

        def fetch(path: str) -> bytes | None:
            file = self.folder / path
            return file.read_bytes() if file.is_file() else None

        return Repository.open(fetch, public_keys=[self.public_key.read_bytes()], fqrn=FQRN, now=datetime.now(UTC))

    def paths(self) -> list[str]:
        """What the verifying reader sees, without the root."""
        return [path for path, _ in self.reader().snapshot().walk() if path]

    @contextmanager
    def served(self) -> Iterator[str]:
        """The base URL of a web server that has the repository below its name."""
        site = self.home / "site"
        site.mkdir()
        (site / FQRN).symlink_to(self.folder)
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(site)))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass
