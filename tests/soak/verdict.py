"""The judgement at the end: what the repositories hold, every revision on the way, every message, every process."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from functions.adapters.http import HttpReader
from functions.adapters.memory_bus import matches
from functions.cvmfs.address import Address
from functions.cvmfs.catalog import NestedReference
from functions.cvmfs.checker import check_repository
from functions.cvmfs.reader import REFLOG_PATH, Repository, content_of, fetch_object
from functions.cvmfs.reflog import Reflog, RefType
from functions.cvmfs.tree_check import TreeCheck
from functions.local.runtime.manifests import Manifests, installed_folder
from functions.publishing.records import open_problems
from tests.soak.tap import MARK
from tests.soak.wanted import LINK_SUFFIX, Item, Stored, differences, item_of, wanted
from tests.soak.watching import answered

BROKER_MOMENT_S = 12.0
"""Around the death of a broker a message may be on one queue and not on another."""


@dataclass
class Compared:
    """A repository held against its bucket."""

    differences: dict[str, str] = field(default_factory=dict)
    keys: dict[str, set] = field(default_factory=dict)
    """The keys that a differing path may come from."""
    problems: list[str] = field(default_factory=list)
    everything: set = field(default_factory=set)
    files: int = 0
    refused: int = 0


class Judge:
    """Compares and verifies; what it has read once it does not read again."""

    def __init__(self, world, trace):
        self._world = world
        self._trace = trace
        self._contents = {}
        self._bodies = {}
        self._threads = ThreadPoolExecutor(8)

    def bucket(self, repo):
        """Everything that is in a bucket now."""
        s3 = self._world.client(repo)
        listed = []
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=repo.name):
            listed += page.get("Contents", ())

        def stored(line):
            head = s3.head_object(Bucket=repo.name, Key=line["Key"])
            etag = head["ETag"].strip('"')
            if (repo.name, etag) not in self._bodies or "-" in etag:
                self._bodies[repo.name, etag] = s3.get_object(Bucket=repo.name, Key=line["Key"])["Body"].read()
            return Stored(
                line["Key"],
                etag,
                int(head["LastModified"].timestamp()),
                head["Metadata"],
                self._bodies[repo.name, etag],
            )

        return list(self._threads.map(stored, listed))

    def tree(self, repo):
        """What a verifying reader finds: entries by path."""
        opened = Repository.open(
            repo.reader.fetch, public_keys=[self._world.public_key(repo)], fqrn=repo.fqrn, now=datetime.now(UTC)
        )
        return {path: entry for path, entry in opened.snapshot().walk() if path}

    def _content(self, repo, path, entry):
        pieces = content_of(path, entry)
        name = (repo.fqrn, tuple(chunk.digest for chunk, _ in pieces))
        if name not in self._contents:
            found = hashlib.sha256()
            for chunk, kind in pieces:
                found.update(
                    fetch_object(repo.reader.fetch, Address(chunk.digest, kind), entry.compression, limit=chunk.size)
                )
            self._contents[name] = found.hexdigest()
        return self._contents[name]

    def compare(self, repo):
        """Hold a repository against its bucket, and its problems against both."""
        objects = self.bucket(repo)
        entries = self.tree(repo)
        should = wanted(objects)
        for path, certainty in repo.by_hand:
            if certainty == "surely" or path in entries:
                should.tree["/beside"] = Item("directory")
                should.tree[path] = Item("link", target=f"by hand {path.rpartition('/')[2]}")
        found = {
            path: item_of(entry, lambda path=path, entry=entry: self._content(repo, path, entry))
            for path, entry in entries.items()
        }
        compared = Compared(differences(should.tree, found), files=len(found), refused=len(should.refused))
        problems = {problem.key: problem for problem in open_problems(self._world.cloud.state, repo.fqrn)}
        told = should.refused | should.lost
        compared.problems += [f"{repo.fqrn}: nobody is told why {key!r} is not there" for key in told - problems.keys()]
        compared.problems += [
            f"{repo.fqrn}: {key!r} is fine, and yet: {problems[key].reason}" for key in problems.keys() - told
        ]
        compared.problems += [f"{repo.fqrn}: {key!r} has no hint" for key in problems if not problems[key].hint]
        sources = {}
        for path, entry in entries.items():
            if "user.source.etag" in entry.xattrs:
                name = entry.xattrs.get("user.source.name", b"").decode()
                key = f"{path.rpartition('/')[0]}/{name}" if name else path + ("/" if entry.is_directory else "")
                sources[path] = "cvmfs" + key
        origins = {**sources, **should.origin}
        for path in compared.differences:
            above = path
            # A directory is there for what is below it.
            keys = {key for below, key in origins.items() if below.startswith(f"{path}/")}
            compared.keys[path] = keys
            while above:
                keys |= {should.origin.get(above), sources.get(above), f"cvmfs{above}", f"cvmfs{above}/"}
                keys |= {f"cvmfs{above}{suffix}" for suffix in (".rclonelink", ".tar.gz", ".tar", ".zip")}
                above = above.rpartition("/")[0]
            keys.discard(None)
        compared.everything = {stored.key for stored in objects} | set(sources.values())
        return compared

    def revisions(self, seen):
        """Verify every revision of every repository, some at a time; see verify_revisions."""
        asked = [
            (
                f"{self._world.stack.repository_url}/{repo.fqrn}",
                repo.fqrn,
                self._world.public_key(repo),
                list(seen.get(repo.fqrn, {}).values()),
            )
            for repo in self._world.repositories
        ]
        with ProcessPoolExecutor(min(2, len(asked)), mp_context=multiprocessing.get_context("spawn")) as processes:
            return list(processes.map(verify_revisions, *zip(*asked, strict=True)))

    # Messages

    def lost_on_the_way(self, auditor):
        """Keys of which fewer notifications came to RabbitMQ than things were done to them."""
        came = {}
        for bucket, key, _, _ in auditor.notifications.values():
            came[bucket, key] = came.get((bucket, key), 0) + 1
        return {
            (bucket, key)
            for bucket, key in self._trace.all_keys()
            if key.startswith("cvmfs/") and came.get((bucket, key), 0) < len(self._trace.of(bucket, key))
        }

    def messages(self, auditor, tap, broker_deaths):
        """Every message was answered 2xx or given up on purpose; every parked one is explained."""
        done, _ = answered(self._world.stack.journal)
        bindings = [
            (binding.routing_key, binding.destination)
            for binding in Manifests.load(installed_folder()).bindings
            if binding.source == "cvmfs" and binding.destination in {f"fn.{step}" for step in self.steps()}
        ]
        faults = []

        def near_a_death(at):
            return any(abs(at - death) < BROKER_MOMENT_S for death in broker_deaths)

        answers = done.get("fn.handle-bucket-notification", set())
        for name, (bucket, key, event, at) in auditor.notifications.items():
            if name not in answers and name not in tap.dropped and not near_a_death(at):
                faults.append(f"notification {event} of {bucket} {key!r} was never answered")
        for name, at in auditor.events.items():
            kind = name.partition(" ")[0]
            for pattern, queue in bindings:
                if matches(pattern, kind) and name not in done.get(queue, ()) and not near_a_death(at):
                    faults.append(f"event {name} was never answered on {queue}")
        parked, unexplained = self._parked(tap)
        return faults + unexplained, parked

    @staticmethod
    def steps():
        return [source.queue.removeprefix("fn.") for source in Manifests.load(installed_folder()).sources.values()]

    def _parked(self, tap):
        faults, count, marks = [], 0, set()
        with self._world.connection() as connection:
            channel = connection.channel()
            for queue in [name for name in self._world.queues() if name.endswith(".parked")]:
                while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                    count += 1
                    _, properties, body = got
                    text = _whole_text(body)
                    reason = (properties.headers or {}).get("x-parked-reason")
                    if not reason:
                        faults.append(f"{queue}: parked without a reason: {text[:200]}")
                    elif MARK in text:
                        marks.add(text[text.index(MARK) :].split('"')[0])
                    elif not self._is_refused_upload(text):
                        faults.append(f"{queue}: parked without need: {reason}: {text[:300]}")
        return count, faults

    def _is_refused_upload(self, text):
        """Whether a parked message tells of an object that was at some time refused."""
        with suppress(ValueError, KeyError, TypeError):
            for record in json.loads(text)["Records"]:
                told = record["s3"]
                key = told["object"]["key"]
                done = self._trace.of(told["bucket"]["name"], key)
                refused = {"REFUSED_KEY", "BROKEN_ARCHIVE", *(["CLASH"] if key.endswith(LINK_SUFFIX) else ())}
                if any(line["kind"] in refused for line in done):
                    return True
        return False

    # What is left behind

    def leftovers(self):
        """Messages, objects and uploads that should not be there."""
        faults = []
        kept = {"soak.audit", "cvmfs_reply", "cvmfs.dashboard"}
        names = [name for name in self._world.queues() if name not in kept and not name.endswith(".parked")]
        expected = {f"changes.{repo.fqrn}" for repo in self._world.repositories}
        declared = {queue.name for queue in Manifests.load(installed_folder()).queues}
        faults += [
            f"queue {name} belongs to nobody"
            for name in set(names) - expected - declared
            if not name.startswith("amq.gen-")  # RadosGW's own, for confirms; it goes with its connection
        ]
        faults += [
            f"{count} messages are left on {name}"
            for name, count in self._world.ready(
                [name for name in names if name.startswith(("fn.", "changes."))]
            ).items()
            if count
        ]
        s3 = self._world.stack.ceph.client("s3")
        for bucket in ("cvmfs", "cvmfs-state"):
            for upload in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
                faults.append(f"an unfinished upload of {upload['Key']} in {bucket}")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="cvmfs"):
            for line in page.get("Contents", ()):
                if not _is_of_a_repository(line["Key"]):
                    faults.append(f"{line['Key']} in bucket cvmfs belongs to nothing")
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="cvmfs-state"):
            for line in page.get("Contents", ()):
                if not any(repo.fqrn in line["Key"] for repo in self._world.repositories):
                    faults.append(f"{line['Key']} in bucket cvmfs-state belongs to no repository")
        return faults


def _is_of_a_repository(key):
    if key.startswith("info/"):
        return True
    _, _, path = key.partition("/")
    parts = path.split("/")
    if parts[0] == "data":
        return len(parts) == 3 and len(parts[1]) == 2
    return path in {".cvmfspublished", ".cvmfswhitelist", ".cvmfsreflog", ".cvmfs_status.json", ".cvmfs_master_replica"}


def _whole_text(body):
    """A parked message as text, with what a structured event wraps unwrapped."""
    text = body.decode("utf-8", "replace")
    with suppress(ValueError, TypeError, AttributeError):
        event = json.loads(text)
        if "data_base64" in event:
            return text + base64.b64decode(event["data_base64"]).decode("utf-8", "replace")
        if isinstance(event.get("data"), dict) and "Records" in event["data"]:
            return json.dumps(event["data"])
    return text


def verify_revisions(url, fqrn, key, seen):
    """Verify every revision that was ever signed or begun; returns what is wrong, and how many there were of both.

    Each is checked whole: signature, catalogs, and every object by its hash. What was `seen` must be on the chain of
    predecessors of the last one: whoever lost a swap must not have been visible.
    """
    reader, now = HttpReader(url), datetime.now(UTC)
    report = check_repository(reader.fetch, exists=reader.exists, public_keys=[key], fqrn=fqrn, now=now, data=True)
    faults = [f"{fqrn}: {finding}" for finding in report.findings]
    opened = Repository.open(reader.fetch, public_keys=[key], fqrn=fqrn, now=now)
    chain = {}
    root = opened.manifest.root
    while root is not None:
        catalog = opened.snapshot_of(root).view.open(NestedReference("", root, 0))
        if catalog.revision in chain:
            faults.append(f"{fqrn}: two revisions {catalog.revision}")
        chain[catalog.revision] = root
        root = catalog.previous_revision
    if sorted(chain) != list(range(1, opened.manifest.revision + 1)):
        faults.append(f"{fqrn}: the chain of revisions has gaps: {sorted(chain)[:5]}.. of {len(chain)}")
    for signed in seen:
        signed.verify(opened.certificate)
        manifest = signed.unverified
        if chain.get(manifest.revision) != manifest.root:
            faults.append(f"{fqrn}: revision {manifest.revision} was visible and is lost")
    reflog = Reflog.from_bytes(reader.fetch(REFLOG_PATH), fqrn=fqrn)
    roots = {entry.digest for entry in reflog.entries() if entry.type is RefType.CATALOG}
    faults += [f"{fqrn}: revision {revision} is in no reflog" for revision, root in chain.items() if root not in roots]
    tree = TreeCheck(reader.fetch, reader.exists, True, None, lambda _: None)
    for root in [*chain.values(), *(roots - set(chain.values()))]:
        tree.check(root)
    return [*faults, *(f"{fqrn}: {finding}" for finding in tree.findings)], len(chain), len(roots)


def processes_of(folder):
    """The processes that work in a folder or were started for something in it."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            place = str((entry / "cwd").readlink())
            if f"{folder}/stack" in command or place.startswith(str(folder)):
                found[int(entry.name)] = command.strip()[:120]
    return found
