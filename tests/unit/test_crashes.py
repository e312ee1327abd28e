"""Publishers that die or fail at any moment: afterwards there is the old revision or the new one, whole, and the next
publish works. The processes are real, and so are the signals that end them."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from functions.adapters.directory import DirectoryBlobStore
from functions.cvmfs.address import Address
from functions.cvmfs.checker import check_repository
from functions.cvmfs.reader import Repository
from functions.cvmfs.reflog import Reflog
from tests.crashing import CUT, FAIL, FQRN, FULL, KILL, NOW, REFUSED, Deed, Nursery, do, tree_of
from tests.golden import golden

FILES = {".cvmfs_master_replica", ".cvmfs_status.json", ".cvmfspublished", ".cvmfsreflog", ".cvmfswhitelist"}
LOCK = ".cvmfs-cloud.lock"

CUTS = (1, 50, 300, 500, 800, 2_000, 5_000, 19_000, 1 << 20)
"""Sizes in bytes: small objects, the manifest (about 600), the whitelist, catalogs, the reflog (about 20,000); none."""


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as process:
        yield process


class Folder:
    """A repository in a folder that publishers die on."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.keys = golden("sha1").folder.parent / "keys"
        self.store = DirectoryBlobStore(place)

    def deed(self, what: str, name: str, how: str = KILL, at: int = 0, rounds: int = 1) -> Deed:
        return Deed(what, str(self.place), str(self.keys), name, how, at, rounds)

    def fetch(self, path: str) -> bytes | None:
        blob = self.store.get(path)
        return None if blob is None else blob.body

    def reader(self, now: datetime = NOW) -> Repository:
        return Repository.open(self.fetch, public_keys=[golden("sha1").public_key], fqrn=FQRN, now=now)

    def revision(self) -> int:
        return self.reader().manifest.revision if self.store.has(".cvmfspublished") else 0

    def shown(self) -> dict[str, bytes]:
        """Every file with its content, as a verifying reader sees it."""
        tree = self.reader().snapshot()
        return {path: tree.read(path) for path, entry in tree.walk() if entry.is_regular}

    def assert_whole(self, *, quiet: bool) -> None:
        """Nothing is wrong; `quiet`: not even a reflog that is ahead of a manifest that was never written."""
        report = check_repository(
            self.fetch,
            exists=self.store.has,
            public_keys=[golden("sha1").public_key],
            fqrn=FQRN,
            now=NOW + timedelta(days=1),
            data=True,
            all_tags=True,
        )
        ahead = [finding for finding in report.findings if "unexpected content hash" in finding.what]
        assert [finding for finding in report.findings if finding not in ahead] == []
        assert not (quiet and ahead)
        if (reflog := self.fetch(".cvmfsreflog")) is not None:
            # A tag may be put on any root that is listed.
            for entry in Reflog.from_bytes(reflog, fqrn=FQRN).entries():
                assert self.store.has(Address(entry.digest, entry.type.kind).path)

    def assert_tidy(self) -> None:
        """Nothing lies about but whole objects under their own names."""
        for file in self.place.rglob("*"):
            path = file.relative_to(self.place).as_posix()
            if path.startswith("data/") and file.is_file():
                address = Address.from_path(path)
                assert address.digest.algorithm.digest(file.read_bytes()) == address.digest, path
            else:
                assert file.is_dir() or path in FILES | {LOCK}, path


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository at revision 1: copied, never changed."""
    folder = Folder(tmp_path_factory.mktemp("fresh") / "repository")
    do(folder.deed("mkfs", ""))
    return folder.place


@pytest.fixture
def folder(fresh: Path, tmp_path: Path) -> Folder:
    shutil.copytree(fresh, tmp_path / "repository")
    return Folder(tmp_path / "repository")


def moments(how: str) -> Iterator[int]:
    """Where to die: at the first change, the second, ... until told to stop; or at some sizes."""
    yield from CUTS if how in {CUT, FULL} else range(1, 1000, 1 if how == KILL else 3)


REVISIONS = {"tree": 1, "tag": 1, "add-tag": 0, "rollback": 2}
"""How many revisions each deed makes: tagging the newest makes none, a rollback takes back what is published first."""

ENDINGS = {KILL: -signal.SIGKILL, CUT: -signal.SIGXFSZ, FAIL: REFUSED, FULL: REFUSED}


@pytest.mark.parametrize(
    ("what", "how"),
    [
        ("tree", KILL),
        ("tree", FAIL),
        ("tree", CUT),
        ("tree", FULL),
        ("tag", FAIL),
        ("add-tag", KILL),
        ("rollback", KILL),
    ],
)
def test_a_publish_that_ends_anywhere_leaves_the_old_or_the_new_revision(
    nursery: Nursery, folder: Folder, what: str, how: str
) -> None:
    ended = set()
    for at in moments(how):
        before, shown = folder.revision(), folder.shown()
        (ending,) = nursery.run(folder.deed(what, f"died-{at}", how, at))
        ended.add(ending)
        after = folder.revision()
        assert before <= after <= before + REVISIONS[what]
        if after == before or what in {"tag", "add-tag"} or after == before + 2:
            assert folder.shown() == shown
        elif what == "tree":
            assert folder.shown()["/tree/tool"] == tree_of(f"died-{at}-0").nodes["/tool"].content
        folder.assert_whole(quiet=after == before + REVISIONS[what] > before)
        if ending == 0 and how in {KILL, FAIL}:
            break  # there was no such moment any more
        if at % 5 == 1 or how in {CUT, FULL}:  # sometimes several die in a row
            do(folder.deed(what, f"next-{at}"))
            assert folder.revision() == after + REVISIONS[what]
            folder.assert_whole(quiet=True)
            folder.assert_tidy()
    assert ended == {ENDINGS[how], 0}
    do(folder.deed(what, "last"))
    assert what not in {"tag", "add-tag"} or "last-0" in {tag.name for tag in folder.reader().tags()}
    folder.assert_whole(quiet=True)
    folder.assert_tidy()


@pytest.mark.parametrize("how", [KILL, CUT, FULL])
def test_a_creation_that_ends_anywhere_is_finished_by_repeating_it(nursery: Nursery, tmp_path: Path, how: str) -> None:
    ended = set()
    for at in moments(how):
        folder = Folder(tmp_path / str(at))
        (ending,) = nursery.run(folder.deed("mkfs", "", how, at))
        ended.add(ending)
        if folder.revision():
            folder.assert_whole(quiet=True)
        do(folder.deed("mkfs", ""))
        assert folder.revision() == 1
        folder.assert_whole(quiet=True)
        folder.assert_tidy()
        if ending == 0 and how in {KILL, FAIL}:
            break
    assert ended == {ENDINGS[how], 0}


def test_two_processes_that_publish_at_once_lose_nothing(nursery: Nursery, folder: Folder) -> None:
    rounds = 12
    first, second = (folder.deed("file", name, rounds=rounds) for name in ("first", "second"))
    assert nursery.run(first, second) == [0, 0]
    expected = {f"/{name}-{number}" for name in ("first", "second") for number in range(rounds)}
    assert set(folder.shown()) == expected
    assert folder.revision() == 1 + 2 * rounds, "one revision for each publish, none used twice"
    folder.assert_whole(quiet=True)
    folder.assert_tidy()


def test_a_process_is_killed_again_and_again_while_another_publishes(nursery: Nursery, folder: Folder) -> None:
    with ThreadPoolExecutor(1) as alone:
        for at in range(5, 60, 11):
            doomed = folder.deed("tree", f"doomed-{at}", KILL, at)
            lucky = folder.deed("file", f"lucky-{at}", rounds=2)
            assert alone.submit(nursery.run, doomed, lucky).result()[1] == 0
            assert {f"/lucky-{at}-0", f"/lucky-{at}-1"} <= folder.shown().keys()
            folder.assert_whole(quiet=False)
