"""``cvmfs-cloud repo ingest``: archives into a repository in a folder."""

import io
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions import wiring
from functions.adapters.archive_file import ArchiveFile
from functions.cvmfs.checker import check_repository
from functions.errors import TreeRefused
from functions.publishing.archive_publish import ArchivePublish
from functions.publishing.archive_rules import ArchiveLimits
from functions.publishing.commit import Publisher
from functions.publishing.content import Recipe
from functions.publishing.head import ObjectCache
from functions.publishing.nesting import CatalogWeights
from tests.archives import FOLDER, directory, groups, hard_link, link, member, tar, zipped
from tests.cli_repository import FQRN, CliRepository, run


@pytest.fixture
def repository(tmp_path: Path) -> CliRepository:
    return CliRepository.copy(tmp_path)


def ingest(repository: CliRepository, body: bytes | None, *options: object, name: str = "a.tar"):
    archive = repository.home / name
    if body is not None:
        archive.write_bytes(body)
    arguments = [] if body is None else [archive]
    return run("repo", "ingest", *arguments, "--storage", repository.storage, "--keys", repository.keys, *options)


def ingested(repository: CliRepository, body: bytes | None, *options: object, name: str = "a.tar") -> dict:
    """Ingest, which must succeed, and return what it says of itself; nothing is broken afterwards."""
    result = ingest(repository, body, "--json", *options, name=name)
    assert result.exit_code == 0, result.stderr
    assert findings(repository) == []
    return json.loads(result.stdout)


def findings(repository: CliRepository) -> list[str]:
    def fetch(path: str) -> bytes | None:
        file = repository.folder / path
        return file.read_bytes() if file.is_file() else None

    report = check_repository(
        fetch,
        exists=lambda path: (repository.folder / path).is_file(),
        public_keys=[repository.public_key.read_bytes()],
        fqrn=FQRN,
        now=datetime.now(UTC),
        data=True,
    )
    return [str(finding) for finding in report.findings]


def test_an_archive_is_added_to_what_is_there(repository: CliRepository) -> None:
    first = tar(member("d/kept", b"1"), member("d/replaced", b"old"), mode="w:xz")
    outcome = ingested(repository, first, "-b", "/sw/tool", name="first.tar.xz")
    assert (outcome["added"], outcome["members"], outcome["content_bytes"]) == (5, 2, 4)
    second = tar(member("d/replaced", b"new"), member("e", b"2"), mode="w:gz")
    outcome = ingested(repository, second, "--base_dir", "sw/tool/", "--tag", "v2", "--message", "better")
    assert (outcome["added"], outcome["changed"], outcome["unchanged"], outcome["revision"]) == (1, 1, 1, 3)
    snapshot = repository.reader().snapshot("v2")
    assert {path: snapshot.read(path) for path, entry in snapshot.walk() if entry.is_regular} == {
        "/sw/tool/d/kept": b"1",
        "/sw/tool/d/replaced": b"new",
        "/sw/tool/e": b"2",
    }


def test_what_is_there_already_makes_no_revision(repository: CliRepository) -> None:
    body = gnu = (FOLDER / "gnu.tar.gz").read_bytes()
    assert ingested(repository, body)["published"]
    again = ingested(repository, gnu)
    assert (again["published"], again["revision"], again["added"], again["changed"]) == (False, 2, 0, 0)


def test_an_archive_and_the_tree_that_tar_makes_of_it_are_the_same(repository: CliRepository) -> None:
    archive = FOLDER / "posix.tar.gz"
    ingested(repository, archive.read_bytes(), name="posix.tar.gz")
    subprocess.run(["tar", "-xzpf", archive, "-C", repository.tree], check=True)
    outcome = repository.published("--checksum")
    assert (outcome["published"], outcome["changed"], outcome["added"], outcome["removed"]) == (False, 0, 0, 0)


def test_modes_links_and_names_are_those_of_the_archive(repository: CliRepository) -> None:
    body = tar(
        directory("private", mode=0o2700),
        member("private/key", b"1", mode=0o4600),
        link("up", "../../elsewhere"),
        member("Icon\r", b""),
        member("latin-\udce9", b"2"),
    )
    ingested(repository, body, "-b", "/x")
    entries = dict(repository.reader().snapshot().walk("/x"))
    assert f"{entries['/x/private'].mode:o} {entries['/x/private/key'].mode:o}" == "40700 100600"
    assert entries["/x/up"].symlink == "../../elsewhere"
    assert {"/x/Icon\r", "/x/latin-\udce9"} < set(entries)


def test_the_directory_of_an_archive_keeps_what_it_is_and_a_new_one_can_be_entered(repository: CliRepository) -> None:
    body = tar(directory(".", mode=0o700, mtime=5), member("a"))
    before = repository.reader().snapshot().lookup("")
    ingested(repository, body)
    assert repository.reader().snapshot().lookup("").mode == before.mode
    ingested(repository, body, "-b", "/new")
    assert f"{repository.reader().snapshot().lookup('/new').mode:o}" == "40755"
    ingested(
        repository, tar(directory(".", mode=0o711, mtime=9), directory("d", mode=0o711), member("a")), "-b", "/new"
    )
    ingested(repository, tar(member("d/x")), "-b", "/new")
    entries = dict(repository.reader().snapshot().walk("/new"))
    assert (entries["/new"].mtime, f"{entries['/new/d'].mode:o}") == (5, "40711")


def test_paths_are_deleted_before_with_or_without_an_archive(repository: CliRepository) -> None:
    ingested(repository, tar(member("a/1"), member("a/2"), member("b/1"), member("c")))
    outcome = ingested(repository, tar(member("a/3")), "-d", "/a", "-d", "b/1", "--delete", "/gone")
    assert (outcome["deleted"], outcome["added"]) == (2, 2)
    assert outcome["remarks"] == ["There was no /gone to delete."]
    assert repository.paths() == ["/a", "/b", "/c", "/a/3"]
    result = ingest(repository, None, "-d", "/c")
    assert "1 deleted" in result.stdout
    assert repository.paths() == ["/a", "/b", "/a/3"]
    assert ingest(repository, None).exit_code == 2
    assert ingest(repository, None, "-d", "/").exit_code == 1


def test_a_catalog_of_its_own_for_the_directory_and_for_marked_ones(repository: CliRepository) -> None:
    body = tar(member("own/.cvmfscatalog"), member("own/x"), member("y"))
    ingested(repository, body, "-b", "/sw/t", "-c")
    assert [path for path, _, _ in repository.reader().snapshot().catalogs()] == ["", "/sw/t", "/sw/t/own"]
    outcome = ingested(repository, body, "-b", "/sw/t", "-c")
    assert outcome["published"] is False
    ingested(repository, tar(member("own/z")), "-b", "/sw/t", "-d", "/sw/t/own/.cvmfscatalog")
    assert [path for path, _, _ in repository.reader().snapshot().catalogs()] == ["", "/sw/t"]
    assert ingest(repository, body, "-c").exit_code == 1
    assert ingest(repository, tar(member(".cvmfscatalog"))).exit_code == 1
    assert ingest(repository, tar(member(".cvmfs/x"))).exit_code == 1
    assert ingest(repository, tar(member("x")), "-b", "/.cvmfs/y").exit_code == 1
    ingested(repository, tar(member(".cvmfscatalog"), member("x")), "-b", "/marked")
    assert "/marked" in [path for path, _, _ in repository.reader().snapshot().catalogs()]


def test_hard_links_of_several_archives_do_not_mix(repository: CliRepository) -> None:
    one = tar(member("d/a", b"1"), hard_link("d/b", "d/a"), hard_link("d/c", "d/a"), hard_link("e/a", "d/a"))
    ingested(repository, one)
    ingested(
        repository, tar(member("d/x", b"2"), hard_link("d/y", "d/x"), member("e/1", b"3"), hard_link("e/2", "e/1"))
    )
    entries = dict(repository.reader().snapshot().walk())
    assert groups(entries) == {
        frozenset(names) for names in (("/d/a", "/d/b", "/d/c"), ("/d/x", "/d/y"), ("/e/1", "/e/2"))
    }
    ingested(repository, tar(member("d/b", b"alone"), member("d/x", b"4"), hard_link("d/a", "d/x")))
    assert groups(repository.reader().snapshot().walk()) == {
        frozenset({"/d/c"}),
        frozenset({"/d/y"}),
        frozenset({"/d/x", "/d/a"}),
        frozenset({"/e/1", "/e/2"}),
    }
    assert ingested(repository, tar(member("d/x", b"4"), hard_link("d/a", "d/x")))["published"] is False


@pytest.mark.parametrize(
    ("body", "what"),
    [
        pytest.param(
            tar(member("file/x")),
            "/d/file is a file in the repository and a directory in the archive",
            id="under a file",
        ),
        pytest.param(
            tar(member("dir", b"1")),
            "/d/dir is a directory in the repository and a file in the archive",
            id="over a directory",
        ),
    ],
)
def test_a_clash_of_file_and_directory_is_refused_unless_deleted(
    repository: CliRepository, body: bytes, what: str
) -> None:
    ingested(repository, tar(member("file"), member("dir/x")), "-b", "/d")
    result = ingest(repository, body, "-b", "/d")
    assert result.exit_code == 1
    assert what in result.stderr
    assert "--delete /d/" in result.stderr
    assert ingest(repository, body, "-b", "/d/file/below").exit_code == 1
    ingested(repository, body, "-b", "/d", "-d", "/d/file", "-d", "/d/dir")


def test_a_bad_archive_changes_nothing_and_says_why(repository: CliRepository) -> None:
    result = ingest(repository, tar(member("../x")))
    assert result.exit_code == 1
    assert "'..' in its name" in result.stderr
    assert "Correct the archive" in result.stderr
    assert ingest(repository, None, "-b", "/x", name="missing").exit_code == 2
    missing = run("repo", "ingest", repository.home / "no", "--storage", repository.storage, "--keys", repository.keys)
    assert (missing.exit_code, "No such file" in missing.stderr) == (1, True)
    assert repository.reader().manifest.revision == 1
    assert ingest(repository, tar(member("x")), "--message", "m").exit_code == 2


def test_limits_can_be_lifted_for_an_archive_one_trusts(
    repository: CliRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ArchiveLimits.__init__, "__defaults__", (1, 100, 1, 100, 100))
    body = tar(member("a", bytes(200)), member("b"))
    assert ingest(repository, body).exit_code == 1
    ingested(repository, body, "--no-limits")


def test_a_tar_archive_may_come_through_a_pipe_and_a_zip_may_not(
    repository: CliRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    def piped(body: bytes):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(body)))
        pipe = wiring.open_archive("-")
        monkeypatch.setattr(wiring, "open_archive", lambda name: pipe)
        result = run("repo", "ingest", "-", "--storage", repository.storage, "--keys", repository.keys, "-b", "/p")
        monkeypatch.undo()
        return result

    assert piped(tar(member("a", b"1"), mode="w:gz")).exit_code == 0
    assert repository.reader().snapshot().read("/p/a") == b"1"
    refused = piped(zipped(("a", b"1")))
    assert (refused.exit_code, "not through a pipe" in refused.stderr) == (1, True)


class _Read(ArchiveFile):
    times = 0

    def blocks(self):
        type(self).times += 1
        return super().blocks()


def test_a_lost_swap_is_repeated_without_a_second_look_at_the_archive(repository: CliRepository) -> None:
    body = tar(member("d/a", b"1"), hard_link("d/b", "d/a"))
    (repository.home / "a.tar").write_bytes(body)
    store = wiring.open_storage(repository.storage)
    lost = []

    class Contended(type(store)):
        def replace(self, path: str, content: bytes, version: str) -> str:
            if path == ".cvmfspublished" and not lost:
                lost.append(version)
                ingested(repository, tar(member("d/c", b"2"), hard_link("d/e", "d/c")), name="other.tar")
            return super().replace(path, content, version)

    store.__class__ = Contended
    with ThreadPoolExecutor(2) as executor, _Read(repository.home / "a.tar") as archive:
        publisher = Publisher(
            FQRN, store, wiring.open_keys(repository.keys).signer(FQRN), ObjectCache(1 << 20), executor, wiring.utc_now
        )
        job = ArchivePublish(publisher, "", Recipe(), archive)
        outcome = job.publish(progress=lambda _members, _bytes: None)
    assert (len(lost), _Read.times, outcome.published.manifest.revision, outcome.laid.added) == (1, 1, 3, 2)
    entries = dict(repository.reader().snapshot().walk())
    assert groups(entries) == {frozenset({"/d/a", "/d/b"}), frozenset({"/d/c", "/d/e"})}
    assert findings(repository) == []


def test_a_large_archive_is_split_into_nested_catalogs(repository: CliRepository) -> None:
    body = tar(*(member(f"d{number % 5}/{number}", b"%d" % number) for number in range(300)))
    (repository.home / "a.tar").write_bytes(body)
    told: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as executor, ArchiveFile(repository.home / "a.tar") as archive:
        store, signer = wiring.open_storage(repository.storage), wiring.open_keys(repository.keys).signer(FQRN)
        publisher = Publisher(FQRN, store, signer, ObjectCache(1 << 20), executor, wiring.utc_now)
        publisher = replace(publisher, weights=CatalogWeights(most=100, balanced=50, least=10))
        job = ArchivePublish(publisher, "/sw", Recipe(), archive)
        job.publish(progress=lambda members, content_bytes: told.append((members, content_bytes)))
    assert len(list(repository.reader().snapshot().catalogs())) > 3
    assert told[-1][0] == 300
    assert findings(repository) == []
    with pytest.raises(TreeRefused, match="cannot become"):
        replace(job, place="", nested=True).publish(progress=lambda _members, _bytes: None)
