"""The demo, step by step; every step shows what it did, and the last ones compare all of it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rich.console import Console

from functions.adapters.http import HttpReader
from functions.local.demo.cast import Cast
from functions.local.demo.errors import DemoFailed
from functions.local.demo.keys import show_keys
from functions.local.demo.reading import read_back, show_client_configuration
from functions.local.demo.requesting import request_group, request_personal
from functions.local.demo.telling import Teller
from functions.local.demo.uploading import Uploads
from functions.local.demo.user import S3User
from functions.local.demo.watching import Watcher
from functions.local.servers import sweep
from functions.local.servers.s3_setup import client
from functions.local.stack import Stack


def play(cast: Cast, teller: Teller) -> None:
    """Play all steps; raises DemoFailed at the first that does not end as it must."""
    stack = cast.stack
    account = stack.ceph.create_user(cast.subject, "Alice")
    request_personal(cast, teller)
    request_group(cast, teller)
    public_key = show_keys(cast, teller)
    user = S3User(client("s3", stack.ceph.endpoints.s3_url, account), cast.username)
    worker = HttpReader(f"{stack.repository_url}/{cast.fqrn}")
    watcher = Watcher(worker.fetch, cast.fqrn, public_key)
    with teller.meanwhile("RadosGW looks for new topics every 30 s; the first notification waits for that"):
        stack.wait_for_notifications()
    uploads = Uploads(user, watcher, teller)
    watcher.start()
    try:
        uploads.quiet()
        uploads.software()
        uploads.changes()
        uploads.archive()
        uploads.refusal(cast)
    finally:
        watcher.stop()
    if watcher.failures:
        raise DemoFailed(f"a revision on the way did not verify: {watcher.failures[0]}")
    read_back(worker, uploads.expected, public_key, cast, teller)
    show_client_configuration(public_key, cast, teller)
    teller.summary(watcher, stack.runtime.status().services)


def run(folder: Path, console: Console, *, each: bool = False) -> None:
    """Play the demo in a fresh stack below `folder` and leave nothing of it; `each` shows every upload's time.

    Raises DemoFailed and LocalServerError; then the folder stays, with the logs that tell why.
    """
    if folder.exists():
        for part in ("ceph", "rabbitmq", "vault", "runtime"):
            sweep(folder / part)
        shutil.rmtree(folder)
    began = time.monotonic()

    def told(line: str) -> None:
        console.print(f"  [dim]{time.monotonic() - began:5.1f} s[/]  {line}", soft_wrap=True)

    console.print("[bold cyan]▌[/] [bold]Starting everything on this machine[/]")
    with Stack(folder, progress=told) as stack:
        play(Cast(stack), Teller(console, each=each))
    shutil.rmtree(folder)
    console.print(f"\n[bold green]Done[/] in {time.monotonic() - began:.0f} s; nothing is left running.")
