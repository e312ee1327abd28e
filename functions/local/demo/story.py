"""The demo, step by step; every step shows what it did, and the last ones compare all of it."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import stat
import sysconfig
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import hvac
import pika
import urllib3
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from events import RepositoryRequested
from events.event import STRUCTURED
from functions.adapters.http import HttpReader
from functions.cvmfs.checker import check_repository
from functions.cvmfs.entry import MARKER_NAME
from functions.cvmfs.reader import Repository
from functions.errors import Permanent
from functions.local.demo.comparing import differences
from functions.local.demo.material import Expected, Upload, archive, expected, odd_things, software_tree
from functions.local.demo.user import Put, S3User
from functions.local.demo.watching import Seen, Watcher, percentiles
from functions.local.servers.s3_setup import client
from functions.local.stack import Stack

TREE_FILES = 2_200
ARCHIVE_FILES = 500
QUIET_UPLOADS = 10
LEGACY_REPLY = "cvmfs_reply"
VISIBLE_LIMIT_S = 60.0


class DemoFailed(Permanent):
    """A step did not end as it must; says which and how."""

    code: ClassVar[str] = "demo-failed"
    hint: ClassVar[str] = "The logs of functions and servers are kept in the demo's folder, `runtime/*.log` first."


class Story:
    """One run of the demo."""

    def __init__(self, stack: Stack, console: Console, *, each: bool = False) -> None:
        self._stack = stack
        self._each = each
        self._console = console
        self._dice = random.Random(7)  # noqa: S311 - contents, not secrets
        self._http = urllib3.PoolManager()
        self._username, self._team = "alice", "physics"
        self._subject = str(uuid.uuid5(uuid.NAMESPACE_DNS, "alice.example.org"))
        self._fqrn = f"{self._username}.infn.it"
        self._team_fqrn = f"{self._team}.infn.it"
        self._expected: dict[str, Expected] = {}
        self._groups: list[tuple[str, list[Seen]]] = []

    def play(self) -> None:
        """Play all steps; raises DemoFailed at the first that does not end as it must."""
        account = self._stack.ceph.create_user(self._subject, "Alice")
        self._request_personal()
        self._request_group()
        public_key = self._show_keys()
        user = S3User(client("s3", self._stack.ceph.endpoints.s3_url, account), self._username)
        worker = HttpReader(f"{self._stack.repository_url}/{self._fqrn}")
        watcher = Watcher(worker.fetch, self._fqrn, public_key)
        self._wait_for_topics()
        watcher.start()
        try:
            self._quiet_uploads(user, watcher)
            self._software(user, watcher)
            self._changes(user, watcher)
            self._archive(user, watcher)
            self._refusal(user)
        finally:
            watcher.stop()
        if watcher.failures:
            raise DemoFailed(f"a revision on the way did not verify: {watcher.failures[0]}")
        self._read_back(worker, public_key)
        self._client_configuration(public_key)
        self._summary(watcher)

    # 1. Repositories

    def _request_personal(self) -> None:
        self._heading("A dashboard asks for a personal repository: CloudEvent to POST /events")
        wanted = RepositoryRequested(repository=self._fqrn, username=self._username, subject=self._subject)
        event = wanted.to_cloudevent(source="/dashboard", time=datetime.now(UTC))
        body = json.dumps(dict(event.get_attributes()) | {"data": event.get_data()}).encode()
        began = time.monotonic()
        answer = self._http.request(
            "POST",
            f"{self._stack.gateway_url}/events",
            body=body,
            headers={"Content-Type": STRUCTURED},
        )
        self._say(f"  HTTP {answer.status} {answer.data.decode().strip()}")
        if answer.status != 202:
            raise DemoFailed(f"the gateway answered {answer.status}")
        self._await_repository(self._fqrn, began)

    def _request_group(self) -> None:
        self._heading("An older dashboard asks for a group repository: a comma-separated message on queue cvmfs")
        message = f"{self._username},{self._subject},{self._team_fqrn},https://iam.example.org/,N"
        with self._amqp() as channel:
            channel.queue_purge(LEGACY_REPLY)
            began = time.monotonic()
            channel.basic_publish("", "cvmfs", message.encode())
            self._say(f"  sent     {message}")
            self._await_repository(self._team_fqrn, began)
            reply = None
            while reply is None and time.monotonic() < began + VISIBLE_LIMIT_S:
                _, _, reply = channel.basic_get(LEGACY_REPLY, auto_ack=True)
                time.sleep(0.05)
        self._say(f"  received {(reply or b'nothing').decode()}   (queue {LEGACY_REPLY})")
        if reply != f"{self._username},{self._subject},{self._team_fqrn},Y,-".encode():
            raise DemoFailed("the reply on the older queue is not what it must be")

    def _await_repository(self, fqrn: str, began: float) -> None:
        url = f"{self._stack.repository_url}/{fqrn}/.cvmfspublished"
        while self._http.request("GET", url).status != 200:
            if time.monotonic() > began + VISIBLE_LIMIT_S:
                raise DemoFailed(f"{fqrn} was not created within {VISIBLE_LIMIT_S:.0f} s")
            time.sleep(0.05)
        self._say(f"  [green]{fqrn}[/] can be mounted after {time.monotonic() - began:.2f} s")

    # 2. Keys

    def _show_keys(self) -> str:
        self._heading("The keys are in Vault, at INFN's paths and fields; private keys never leave the transit engine")
        vault = hvac.Client(
            self._stack.vault.endpoints.address, self._stack.vault.endpoints.root_token.get_secret_value()
        )
        public_key = ""
        for path in (f"{self._subject}/cvmfs_keys/{self._fqrn}", f"groups/{self._team}/cvmfs_keys/{self._team_fqrn}"):
            fields = self._stack.vault_secret(path)
            self._say(f"  secrets/{path}")
            table = Table(show_header=False, box=None, padding=(0, 2))
            for name, value in sorted(fields.items()):
                first = value.splitlines()[0]
                shown = f"{first.rsplit(' ', 1)[0]} ***" if name == "gatewayKey" else f"{first} ({len(value)} bytes)"
                table.add_row(name, shown)
            self._console.print(table)
            if set(fields) != {"publicKey", "certificateKey", "gatewayKey"}:
                raise DemoFailed(f"secrets/{path} has the fields {sorted(fields)}")
            public_key = public_key or fields["publicKey"]
        for role in ("master", "signing"):
            key = vault.secrets.transit.read_key(f"{self._fqrn}-{role}")["data"]
            self._say(
                f"  transit/{self._fqrn}-{role}: {key['type']}, exportable: {'yes' if key['exportable'] else 'no'}"
            )
            if key["exportable"]:
                raise DemoFailed("a private key can be exported")
        return public_key

    # 3. and 4. Uploads

    def _wait_for_topics(self) -> None:
        with self._console.status("RadosGW looks for new topics every 30 s; the first notification waits for that"):
            self._stack.wait_for_notifications()

    def _quiet_uploads(self, user: S3User, watcher: Watcher) -> None:
        self._heading(f"{QUIET_UPLOADS} single uploads, each after quiet: PUT returned → visible in a signed revision")
        first = len(watcher.seen)
        for number in range(QUIET_UPLOADS):
            upload = Upload(f"cvmfs/quiet/file{number:02}.dat", self._dice.randbytes(10_000))
            self._put(user, watcher, [upload])
            self._settle(watcher)
            latest = watcher.seen[-1]
            self._say(f"  {latest.path:<24} revision {latest.revision:<4} {latest.seconds * 1000:7.0f} ms")
            time.sleep(2.2)  # longer than the shortest time between revisions: each upload finds the service quiet
        self._group("single uploads, quiet", watcher, first)

    def _software(self, user: S3User, watcher: Watcher) -> None:
        source = Path(sysconfig.get_paths()["purelib"])
        uploads = [*software_tree(source, most=TREE_FILES), *odd_things(self._dice)]
        size = sum(len(upload.read()) for upload in uploads)
        self._heading(
            f"A software tree: {len(uploads)} objects, {size / 1e6:.0f} MB (site-packages, and everything odd)"
        )
        first = len(watcher.seen)
        began = time.monotonic()
        with self._progress(len(uploads)) as progress:
            put, seen = progress.tasks[0].id, progress.tasks[1].id
            self._put(user, watcher, uploads, lambda: progress.advance(put))
            last_put = time.monotonic()

            def show(left: int) -> None:
                progress.update(seen, completed=len(uploads) - left)

            complete = watcher.wait(timeout_s=VISIBLE_LIMIT_S, progress=show)
        if not complete:
            raise DemoFailed(f"not visible: {watcher.missing()[:5]} and {watcher.waiting()} in all")
        self._say(
            f"  uploaded in {last_put - began:.1f} s ({len(uploads) / (last_put - began):.0f} PUT/s); all visible "
            f"[green]{max(0.0, time.monotonic() - last_put):.1f} s[/] after the last PUT"
        )
        self._group("software tree", watcher, first)

    def _changes(self, user: S3User, watcher: Watcher) -> None:
        self._heading("Overwrites and deletions")
        first = len(watcher.seen)
        files = sorted(path for path, what in self._expected.items() if path.startswith("/sw/") and what.sha256)
        for path in files[:20]:
            self._put(user, watcher, [Upload(f"cvmfs{path}", self._dice.randbytes(500), {"mode": "100644"})])
        for path in files[20:60]:
            deleted_at = user.delete(f"cvmfs{path}")
            del self._expected[path]
            watcher.expect(path, None, deleted_at)
        user.delete("cvmfs/odd/ümläut/漢字/emoji 🚀.txt")
        del self._expected["/odd/ümläut/漢字/emoji 🚀.txt"]
        watcher.expect("/odd/ümläut", None, time.monotonic())
        self._settle(watcher)
        self._say("  20 overwritten, 41 deleted, among them the only file of a folder of folders")
        self._group("overwrites, deletions", watcher, first)

    def _archive(self, user: S3User, watcher: Watcher) -> None:
        name = "analysis-2.1.tar.gz"
        upload, tree = archive(name, self._dice, files=ARCHIVE_FILES)
        self._heading(
            f"An archive: {name}, {len(upload.read()) / 1e6:.1f} MB, {len(tree)} entries, unpacked on the way"
        )
        first = len(watcher.seen)
        put = user.put(upload)
        watcher.expect("/" + name.removesuffix(".tar.gz"), put.etag, put.at)
        self._settle(watcher)
        self._expected |= tree
        self._say(f"  unpacked and visible after {watcher.seen[-1].seconds:.2f} s")
        self._group("archive", watcher, first)

    def _refusal(self, user: S3User) -> None:
        self._heading("An upload that cannot be published is told, and harms nothing")
        user.put(Upload("cvmfs/a/../b", b"climbing"))
        state = client("s3", self._stack.ceph.endpoints.s3_url, self._stack.ceph.endpoints.service)
        give_up_at = time.monotonic() + VISIBLE_LIMIT_S
        while not (
            listed := state.list_objects_v2(Bucket="cvmfs-state", Prefix=f"problems/{self._fqrn}/").get("Contents")
        ):
            if time.monotonic() > give_up_at:
                raise DemoFailed("the refused upload left no problem")
            time.sleep(0.1)
        problem = json.loads(state.get_object(Bucket="cvmfs-state", Key=listed[0]["Key"])["Body"].read())
        self._say(f"  [yellow]{problem['reason']}[/]\n  {problem['hint']}")

    def _put(self, user: S3User, watcher: Watcher, uploads: list[Upload], done: object = None) -> None:
        def returned(put: Put) -> None:
            path, what = expected(put.upload)
            self._expected[path] = what
            watcher.expect(path, put.etag, put.at)
            if callable(done):
                done()

        user.put_all(uploads, returned)

    def _settle(self, watcher: Watcher) -> None:
        if not watcher.wait(timeout_s=VISIBLE_LIMIT_S):
            raise DemoFailed(f"not visible within {VISIBLE_LIMIT_S:.0f} s: {watcher.missing()[:5]}")

    # 5. Reading back

    def _read_back(self, worker: HttpReader, public_key: str) -> None:
        self._heading("Reading back over plain HTTP: whitelist, signature, every hash, every path")
        repository = Repository.open(worker.fetch, public_keys=[public_key], fqrn=self._fqrn, now=datetime.now(UTC))
        began = time.monotonic()
        snapshot = repository.snapshot()
        found: dict[str, Expected] = {}
        with self._console.status("reading every file"):
            for path, entry in snapshot.walk():
                if path.rpartition("/")[2] == MARKER_NAME:
                    continue
                digest = hashlib.sha256(snapshot.read(path)).hexdigest() if entry.is_regular else ""
                mode = stat.S_IFLNK | 0o777 if entry.is_symlink else entry.mode
                found[path] = Expected(mode, digest, entry.symlink)
        faults = differences(self._expected, found)
        self._say(
            f"  {len(found)} paths compared in {time.monotonic() - began:.1f} s: "
            + (f"[red]{len(faults)} differ[/]" if faults else "[green]all equal[/] (path, mode, link, content)")
        )
        if faults:
            raise DemoFailed("; ".join(faults[:5]))
        report = check_repository(
            worker.fetch,
            exists=worker.exists,
            public_keys=[public_key],
            fqrn=self._fqrn,
            now=datetime.now(UTC),
            data=True,
        )
        self._say(f"  repository check with all data: {len(report.findings)} findings")
        if report.findings:
            raise DemoFailed(str(report.findings[0]))

    def _client_configuration(self, public_key: str) -> None:
        self._heading("What a worker node with the standard CVMFS client needs")
        self._say(
            f"  # /etc/cvmfs/config.d/{self._fqrn}.conf\n"
            f"  CVMFS_SERVER_URL={self._stack.repository_url}/@fqrn@\n"
            f"  CVMFS_PUBLIC_KEY=/etc/cvmfs/keys/{self._fqrn}.pub\n"
            "  CVMFS_HTTP_PROXY=DIRECT\n"
            f"  # /etc/cvmfs/keys/{self._fqrn}.pub\n"
            + "\n".join(f"  {line}" for line in public_key.strip().splitlines()),
            highlight=False,
        )

    # 6. Numbers

    def _summary(self, watcher: Watcher) -> None:
        self._heading("Numbers")
        table = Table("", "uploads", "revisions", "median", "p99", "slowest", title="PUT returned → visible, seconds")
        for name, seen in self._groups:
            figures = percentiles(seen)
            table.add_row(
                name,
                str(len(seen)),
                str(len({item.revision for item in seen})),
                *(f"{figures[key]:.2f}" for key in ("median", "p99", "max")),
            )
        self._console.print(table)
        latest = max(item.revision for item in watcher.seen)
        self._say(f"  revision {latest} is live; {watcher.revisions} revisions were seen and verified")
        for name, state in self._stack.runtime.status().services.items():
            starts = ", ".join(f"{seconds:.2f} s" for seconds in state.cold_starts_s) or "none"
            self._say(f"  {name}: {state.ready} ready now; starts from zero: {starts}", highlight=False)

    def _group(self, name: str, watcher: Watcher, first: int) -> None:
        """Keep the figures of a step, and show them: by upload if asked for, else by revision."""
        seen = watcher.seen[first:]
        self._groups.append((name, seen))
        if self._each:
            for item in seen:
                self._say(f"  revision {item.revision:<4} {item.seconds:6.2f} s  {item.path}", highlight=False)
        elif len({item.revision for item in seen}) < len(seen):
            for revision in sorted({item.revision for item in seen}):
                times = [item.seconds for item in seen if item.revision == revision]
                self._say(
                    f"  revision {revision:<4} {len(times):5} uploads visible, "
                    f"{min(times):.2f} to {max(times):.2f} s after their PUT",
                    highlight=False,
                )

    # Telling

    def _heading(self, text: str) -> None:
        self._say(f"\n[bold cyan]▌[/] [bold]{text}[/]")

    def _say(self, text: str, *, highlight: bool = True) -> None:
        """One line, not folded by us: a terminal folds it, a log keeps it whole."""
        self._console.print(text, soft_wrap=True, highlight=highlight)

    def _progress(self, total: int) -> Progress:
        progress = Progress(
            SpinnerColumn(),
            TextColumn("  {task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
        )
        progress.add_task("uploaded", total=total)
        progress.add_task("visible", total=total)
        return progress

    @contextmanager
    def _amqp(self) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
        url = self._stack.rabbit.endpoints.amqp_url.get_secret_value()
        connection = pika.BlockingConnection(pika.URLParameters(url))
        try:
            yield connection.channel()
        finally:
            connection.close()


def run(folder: Path, console: Console, *, each: bool = False) -> None:
    """Play the demo in a fresh stack below `folder` and leave nothing of it; `each` shows every upload's time.

    Raises DemoFailed and LocalServerError; then the folder stays, with the logs that tell why.
    """
    from functions.local.servers import sweep  # noqa: PLC0415

    if folder.exists():
        for part in ("ceph", "rabbitmq", "vault", "runtime"):
            sweep(folder / part)
        shutil.rmtree(folder)
    began = time.monotonic()

    def told(line: str) -> None:
        console.print(f"  [dim]{time.monotonic() - began:5.1f} s[/]  {line}", soft_wrap=True)

    console.print("[bold cyan]▌[/] [bold]Starting everything on this machine[/]")
    with Stack(folder, progress=told) as stack:
        Story(stack, console, each=each).play()
    shutil.rmtree(folder)
    console.print(f"\n[bold green]Done[/] in {time.monotonic() - began:.0f} s; nothing is left running.")
