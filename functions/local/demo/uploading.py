"""What the user uploads, overwrites and deletes, step by step; each ends when a worker node sees all of it."""

from __future__ import annotations

import json
import random
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from functions.local.demo.cast import Cast
from functions.local.demo.errors import DemoFailed
from functions.local.demo.material import Expected, Upload, archive, expected, odd_things, software_tree
from functions.local.demo.telling import Teller
from functions.local.demo.user import Put, S3User
from functions.local.demo.watching import VISIBLE_LIMIT_S, Watcher
from functions.local.servers.s3_setup import client

TREE_FILES = 2_200
ARCHIVE_FILES = 500
QUIET_UPLOADS = 10


class Uploads:
    """The steps; `expected` is what a worker node must see after those that were played, by path."""

    def __init__(self, user: S3User, watcher: Watcher, teller: Teller) -> None:
        self._user = user
        self._watcher = watcher
        self._teller = teller
        self._dice = random.Random(7)  # noqa: S311 - contents, not secrets
        self.expected: dict[str, Expected] = {}

    def quiet(self) -> None:
        """One small file after the other."""
        self._teller.heading(
            f"{QUIET_UPLOADS} single uploads, each after quiet: PUT returned → visible in a signed revision"
        )
        first = len(self._watcher.seen)
        for number in range(QUIET_UPLOADS):
            self._put([Upload(f"cvmfs/quiet/file{number:02}.dat", self._dice.randbytes(10_000))])
            self._settle()
            latest = self._watcher.seen[-1]
            self._teller.say(f"  {latest.path:<24} revision {latest.revision:<4} {latest.seconds * 1000:7.0f} ms")
            time.sleep(2.2)  # longer than the shortest time between revisions: each upload finds the service quiet
        self._visible("single uploads, quiet", first)

    def software(self) -> None:
        """A whole tree of software at once."""
        source = Path(sysconfig.get_paths()["purelib"])
        uploads = [*software_tree(source, most=TREE_FILES), *odd_things(self._dice)]
        size = sum(len(upload.read()) for upload in uploads)
        self._teller.heading(
            f"A software tree: {len(uploads)} objects, {size / 1e6:.0f} MB (site-packages, and everything odd)"
        )
        first = len(self._watcher.seen)
        began = time.monotonic()
        with self._teller.bars("uploaded", "visible", total=len(uploads)) as progress:
            put, seen = progress.task_ids
            self._put(uploads, lambda: progress.advance(put))
            last_put = time.monotonic()

            def show(left: int) -> None:
                progress.update(seen, completed=len(uploads) - left)

            complete = self._watcher.wait(timeout_s=VISIBLE_LIMIT_S, progress=show)
        if not complete:
            raise DemoFailed(f"not visible: {self._watcher.missing()[:5]} and {self._watcher.waiting()} in all")
        self._teller.say(
            f"  uploaded in {last_put - began:.1f} s ({len(uploads) / (last_put - began):.0f} PUT/s); all visible "
            f"[green]{max(0.0, time.monotonic() - last_put):.1f} s[/] after the last PUT"
        )
        self._visible("software tree", first)

    def changes(self) -> None:
        """Files of that tree overwritten and deleted."""
        self._teller.heading("Overwrites and deletions")
        first = len(self._watcher.seen)
        files = sorted(path for path, what in self.expected.items() if path.startswith("/sw/") and what.sha256)
        for path in files[:20]:
            self._put([Upload(f"cvmfs{path}", self._dice.randbytes(500), {"mode": "100644"})])
        for path in files[20:60]:
            self._delete(path, seen_at=path)
        self._delete("/odd/ümläut/漢字/emoji 🚀.txt", seen_at="/odd/ümläut")
        self._settle()
        self._teller.say("  20 overwritten, 41 deleted, among them the only file of a folder of folders")
        self._visible("overwrites, deletions", first)

    def archive(self) -> None:
        """An archive, which becomes a tree."""
        name = "analysis-2.1.tar.gz"
        upload, tree = archive(name, self._dice, files=ARCHIVE_FILES)
        self._teller.heading(
            f"An archive: {name}, {len(upload.read()) / 1e6:.1f} MB, {len(tree)} entries, unpacked on the way"
        )
        first = len(self._watcher.seen)
        put = self._user.put(upload)
        self._watcher.expect("/" + name.removesuffix(".tar.gz"), put.etag, put.at)
        self._settle()
        self.expected |= tree
        self._teller.say(f"  unpacked and visible after {self._watcher.seen[-1].seconds:.2f} s")
        self._visible("archive", first)

    def refusal(self, cast: Cast) -> None:
        """A key that no path can be made of."""
        self._teller.heading("An upload that cannot be published is told, and harms nothing")
        self._user.put(Upload("cvmfs/a/../b", b"climbing"))
        ceph = cast.stack.ceph.endpoints
        state = client("s3", ceph.s3_url, ceph.service)
        give_up_at = time.monotonic() + VISIBLE_LIMIT_S
        while not (
            listed := state.list_objects_v2(Bucket="cvmfs-state", Prefix=f"problems/{cast.fqrn}/").get("Contents")
        ):
            if time.monotonic() > give_up_at:
                raise DemoFailed("the refused upload left no problem")
            time.sleep(0.1)
        problem = json.loads(state.get_object(Bucket="cvmfs-state", Key=listed[0]["Key"])["Body"].read())
        self._teller.say(f"  [yellow]{problem['reason']}[/]\n  {problem['hint']}")

    def _put(self, uploads: list[Upload], done: Callable[[], None] = lambda: None) -> None:
        def returned(put: Put) -> None:
            path, what = expected(put.upload)
            self.expected[path] = what
            self._watcher.expect(path, put.etag, put.at)
            done()

        self._user.put_all(uploads, returned)

    def _delete(self, path: str, *, seen_at: str) -> None:
        """Delete a file; it is `seen_at` that goes, which may be a folder that only the file was in."""
        deleted_at = self._user.delete(f"cvmfs{path}")
        del self.expected[path]
        self._watcher.expect(seen_at, None, deleted_at)

    def _settle(self) -> None:
        if not self._watcher.wait(timeout_s=VISIBLE_LIMIT_S):
            raise DemoFailed(f"not visible within {VISIBLE_LIMIT_S:.0f} s: {self._watcher.missing()[:5]}")

    def _visible(self, name: str, first: int) -> None:
        self._teller.visible(name, self._watcher.seen[first:])
