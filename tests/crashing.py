"""Publishers that really die: each deed runs in a child process that kills itself at a chosen moment.

A `Nursery` is one process without threads that has everything imported and forks a child for each deed, which costs a
few milliseconds. A child dies by SIGKILL right before its n-th change of the repository's folder, or by SIGXFSZ in the
middle of a write, or meets a full disk there and has to cope. Run as ``python -m tests.crashing`` it is the nursery.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Self

import deflate  # noqa: F401  # loaded late elsewhere; once here instead of in every child
import numpy as np  # noqa: F401

from functions.adapters.directory import DirectoryBlobStore
from functions.adapters.key_files import FileSigner, KeyFiles
from functions.cvmfs.certificate import Certificate
from functions.cvmfs.entry import Entry
from functions.errors import CloudError, VersionMoved
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe
from functions.publishing.creation import NewRepository, create_repository
from functions.publishing.head import ObjectCache
from functions.publishing.revision import TagRequest
from functions.publishing.rollback import roll_back
from functions.publishing.tagging import add_tag
from functions.publishing.tree import CatalogTree
from functions.publishing.tree_publish import TreePublish
from tests.local_trees import SMALL_CHUNKS, Node, PaperTree

FQRN = "sha1.golden.example"
"""The golden repository whose keys are used."""

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

KILL, FAIL, CUT, FULL = "kill", "fail", "cut", "full"
"""Ways to end: killed or refused before the n-th change; cut off or refused after n bytes of a file."""

_CHANGES = frozenset({"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"})
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
REFUSED = 3


@dataclass(frozen=True)
class Deed:
    """What a child does in which folder with which keys, and how and where it ends (`at` 0: it does not)."""

    what: str
    folder: str
    keys: str
    name: str
    how: str = KILL
    at: int = 0
    rounds: int = 1


class Nursery:
    """The process that children are forked from; a context manager."""

    def __enter__(self) -> Self:
        root = Path(__file__).parent.parent
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crashing"], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, *deeds: Deed) -> list[int]:
        """Do some deeds at once; returns how each ended: 0, REFUSED, or minus the number of the signal."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([asdict(deed) for deed in deeds]).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@cache
def signer_of(keys: str) -> FileSigner:
    """The signer with the keys in a folder, which takes a while to load."""
    return KeyFiles(keys).signer(FQRN)


def do(deed: Deed) -> None:
    """One deed, in this process."""
    store = DirectoryBlobStore(Path(deed.folder))
    signer = signer_of(deed.keys)
    if deed.what == "mkfs":
        certificate = Certificate.from_pem((Path(deed.keys) / f"{FQRN}.crt").read_bytes())
        create_repository(store, signer, certificate, NewRepository(FQRN), now=NOW)
        return
    with ThreadPoolExecutor(4) as executor:
        publisher = Publisher(FQRN, store, signer, ObjectCache(1 << 20), executor, lambda: NOW)
        for number in range(deed.rounds):
            _insist(lambda number=number: _publish(publisher, deed.what, f"{deed.name}-{number}"), deed.rounds)


def _publish(publisher: Publisher, what: str, name: str) -> None:
    if what == "tag":
        publisher.publish(lambda _tree, _marker: None, tag=TagRequest(name, "in passing"))
    elif what == "add-tag":
        add_tag(publisher, TagRequest(name, "afterwards"))
    elif what == "rollback":
        publisher.publish(lambda tree, marker: _put_file(tree, marker, name))
        roll_back(publisher)
    elif what == "file":
        publisher.publish(lambda tree, marker: _put_file(tree, marker, name))
    else:
        TreePublish(publisher, tree_of(name), "/tree", Recipe(limits=SMALL_CHUNKS)).publish(
            progress=lambda _plan, _files, _bytes: None
        )


def _put_file(tree: CatalogTree, marker: Entry, name: str) -> None:
    tree.made_markers = True  # so that the empty object is stored
    tree.put(f"/{name}", marker)


def tree_of(name: str) -> PaperTree:
    """A tree with a nested catalog and a chunked file; contents and times are others for every name."""
    changed = zlib.crc32(name.encode()) * 10**9
    return PaperTree(
        {
            "/tool": Node(name.encode() * 20, permissions=stat.S_IRWXU, mtime_ns=changed),
            "/pkg/.cvmfscatalog": Node(b""),
            "/pkg/large": Node((name.encode() + bytes(20)) * 6, mtime_ns=changed),
        }
    )


def _insist(publish: Callable[[], None], rounds: int) -> None:
    """In a race, try again after having lost to the other one too often, as a queue would."""
    while True:
        try:
            return publish()
        except VersionMoved:
            if rounds == 1:
                raise


def _arm(deed: Deed) -> None:
    """Let this process end where the deed says."""
    if deed.how in {CUT, FULL}:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if deed.how == CUT else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (deed.at, deed.at))
        return
    left = deed.at

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if not _is_change(event, arguments, deed.folder):
            return
        left -= 1
        if left == 0 and deed.how == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    sys.addaudithook(watch)


def _is_change(event: str, arguments: tuple[object, ...], folder: str) -> bool:
    if event == "open":
        flags = arguments[2]
        changes = isinstance(flags, int) and bool(flags & _WRITING)
    else:
        changes = event in _CHANGES
    paths = [os.fsdecode(path) for path in arguments[:2] if isinstance(path, str | bytes | os.PathLike)]
    if event == "os.mkdir" and Path(paths[0]).is_dir():
        return False
    return changes and any(path.startswith(folder) for path in paths)


def _child(deed: Deed) -> int:
    if deed.at:
        _arm(deed)
    try:
        do(deed)
    except CloudError:
        return REFUSED
    return 0


def _serve() -> None:
    for line in sys.stdin:
        children = []
        for members in json.loads(line):
            assert signer_of(members["keys"]).public_key  # loaded here, children have it
            child = os.fork()
            if child == 0:
                os._exit(_child(Deed(**members)))
            children.append(child)
        endings: Sequence[int] = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(json.dumps(endings) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
