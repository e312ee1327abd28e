"""The tag database: its rows, and the rules of publishing, tagging and rolling back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest

from functions.cvmfs.address import Address, Digest, HashAlgorithm, Kind
from functions.cvmfs.errors import HistoryError
from functions.cvmfs.history import Branch, History, Tag
from functions.cvmfs.manifest import SignedManifest
from functions.cvmfs.objects import unpack
from functions.cvmfs.reflog import Reflog, RefType
from tests.golden import GOLDEN, GoldenRepository, golden


def root(revision: int) -> Digest:
    return HashAlgorithm.SHA1.digest(f"root catalog of revision {revision}".encode())


def published(*names: str | None) -> History:
    """A history of revisions 1, 2, ... that were published with these tag names."""
    history = History.new("test.example.org")
    for revision, name in enumerate(names, start=1):
        history.publish(
            root(revision), 4096 * revision, revision, 1000 + revision, name=name, description=f"no. {name}"
        )
    return history


def shown(history: History) -> dict[str, int]:
    return {tag.name: tag.revision for tag in history.tags()}


def rewritten(history: History, *statements: str) -> bytes:
    """The database after some SQL, as another program might have left it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(history.to_bytes())
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        return connection.serialize()


def official_history(repository: GoldenRepository, digest: Digest) -> bytes:
    address = Address(digest, Kind.HISTORY)
    return unpack(address, repository.read(address.path))


def head_history(repository: GoldenRepository) -> tuple[Digest, bytes]:
    digest = SignedManifest.from_bytes(repository.read(".cvmfspublished")).unverified.history
    return digest, official_history(repository, digest)


def rows(image: bytes) -> dict[str, list]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(image)
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()
            for table in ("properties", "branches", "tags", "recycle_bin")
        }


def schema(image: bytes) -> list[tuple]:
    """Tables, columns with their types, indices and foreign keys: all but the blanks in the text."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(image)
        tables = [
            row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
        ]
        return [
            (
                table,
                connection.execute(f"PRAGMA table_info({table})").fetchall(),
                connection.execute(f"PRAGMA index_list({table})").fetchall(),
                connection.execute(f"PRAGMA foreign_key_list({table})").fetchall(),
            )
            for table in tables
        ]


@pytest.mark.parametrize("name", GOLDEN)
def test_an_official_history_is_read_and_written_back_row_for_row(name):
    repository = golden(name)
    _, image = head_history(repository)
    history = History.from_bytes(image)
    assert history.fqrn == repository.fqrn
    assert {tag.name for tag in history.tags()} >= {"v1", "v2", "trunk", "trunk-previous"}
    assert history.tag("v1").description == "first release"
    assert history.branches() == [Branch()]
    assert history.check() == []
    ours = history.to_bytes()
    assert rows(ours) == rows(image)
    assert schema(ours) == schema(image)
    # page size, write version, read version, and the size in pages
    assert ours[16:20] == image[16:20]
    assert len(ours) == len(image)


@pytest.mark.parametrize("name", GOLDEN)
def test_publishing_on_an_official_history_gives_the_next_official_history(name):
    repository = golden(name)
    chain = [head_history(repository)]
    while (previous := History.from_bytes(chain[-1][1]).previous_revision) is not None:
        chain.append((previous, official_history(repository, previous)))
    assert len(chain) == 4
    for (_, newer), (digest, older) in pairwise(chain):
        expected, history = History.from_bytes(newer), History.from_bytes(older)
        trunk = expected.tag("trunk")
        (new,) = set(shown(expected)) - set(shown(history)) - {"trunk-previous"}
        history.previous_revision = digest
        history.publish(
            trunk.root,
            trunk.size,
            trunk.revision,
            trunk.timestamp,
            name=new,
            description=expected.tag(new).description,
        )
        assert rows(history.to_bytes()) == rows(newer)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_trunk_of_an_official_history_is_the_root_of_the_manifest(name):
    repository = golden(name)
    manifest = SignedManifest.from_bytes(repository.read(".cvmfspublished")).unverified
    trunk = History.from_bytes(head_history(repository)[1]).tag("trunk")
    assert (trunk.root, trunk.size, trunk.revision) == (manifest.root, manifest.root_size, manifest.revision)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_history_in_an_official_reflog_is_readable(name):
    repository = golden(name)
    reflog = Reflog.from_bytes(repository.read(".cvmfsreflog"), fqrn=repository.fqrn)
    histories = [entry.digest for entry in reflog.entries() if entry.type is RefType.HISTORY]
    assert len(histories) == 4
    for digest in histories:
        assert History.from_bytes(official_history(repository, digest)).check() == []


def test_a_new_history_is_a_whole_database_on_disk(tmp_path):
    history = published("v1", None)
    file = tmp_path / "history"
    file.write_bytes(history.to_bytes())
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        assert connection.execute("PRAGMA page_count").fetchone()[0] * 4096 == file.stat().st_size
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_the_first_history_has_a_null_predecessor_and_a_default_branch():
    history = published("v1")
    properties = dict(rows(history.to_bytes())["properties"])
    assert properties == {
        "schema": "1.0",
        "schema_revision": "3",
        "fqrn": "test.example.org",
        "previous_revision": "0" * 40,
    }
    assert rows(history.to_bytes())["branches"] == [("", None, 0)]
    assert History.from_bytes(history.to_bytes()).previous_revision is None


@pytest.mark.parametrize("null", ["", "0" * 40, "0" * 40 + "-rmd160"])
def test_a_null_predecessor_of_any_spelling_means_none(null):
    image = rewritten(published("v1"), f"UPDATE properties SET value = '{null}' WHERE key = 'previous_revision'")
    assert History.from_bytes(image).previous_revision is None


def test_a_history_without_tags_says_that_a_manifest_must_not_name_it():
    assert History.new("a.b").check() == ["branch '' has no tag"]


def test_publishing_moves_trunk_and_keeps_its_predecessor_for_undo():
    history = published("v1", None, "v3")
    assert shown(history) == {"trunk": 3, "v3": 3, "trunk-previous": 2, "v1": 1}
    assert history.tag("trunk") == Tag("trunk", root(3), 12288, 3, 1003, "current HEAD")
    assert history.tag("trunk-previous") == Tag("trunk-previous", root(2), 8192, 2, 1002, "default undo target")
    assert history.tag("v3") == Tag("v3", root(3), 12288, 3, 1003, "no. v3")
    assert history.tag("v2") is None


def test_tags_are_shown_newest_first():
    names = [tag.name for tag in published("v1", "v2").tags()]
    assert names == ["trunk", "v2", "trunk-previous", "v1"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("trunk", "reserved", id="trunk"),
        pytest.param("trunk-previous", "reserved", id="trunk-previous"),
        pytest.param("v1", "a tag 'v1' already", id="taken"),
        pytest.param("", "not a tag name", id="empty"),
        pytest.param("a b", "not a tag name", id="blank"),
        pytest.param("v2\n", "not a tag name", id="line feed at the end"),
        pytest.param("é", "not a tag name", id="accent"),
        pytest.param("a@b", "not a tag name", id="at sign"),
        pytest.param("\udcff", "not a tag name", id="undecodable"),
    ],
)
def test_a_refused_tag_name_leaves_the_history_as_it_was(name, reason):
    history = published("v1")
    before = history.to_bytes()
    with pytest.raises(HistoryError, match=reason):
        history.publish(root(2), 8192, 2, 1002, name=name)
    with pytest.raises(HistoryError, match=reason):
        history.add(Tag(name, root(1), 4096, 1, 1001))
    assert history.to_bytes() == before


@pytest.mark.parametrize(
    "description",
    [pytest.param("a\0b", id="NUL"), pytest.param("half a pair \ud800", id="broken Unicode")],
)
def test_a_description_that_is_no_text_is_refused(description):
    with pytest.raises(HistoryError, match="description"):
        published("v1").publish(root(2), 8192, 2, 1002, name="v2", description=description)


@pytest.mark.parametrize("revision", [1, 2])
def test_a_revision_number_is_never_used_again(revision):
    history = published("v1", "v2")
    with pytest.raises(HistoryError, match=f"revision {revision} does not follow 2"):
        history.publish(root(9), 1, revision, 2000)
    with pytest.raises(HistoryError, match=f"revision {revision} does not follow 2"):
        history.rollback("v1", root=root(9), size=1, revision=revision, timestamp=2000)


def test_a_number_that_sqlite_cannot_hold_is_a_history_error():
    history = History.new("a.b")
    history.publish(root(1), 1, 2**63, 1)
    with pytest.raises(HistoryError, match="SQLite"):
        history.to_bytes()


def test_a_tag_can_be_added_to_an_older_revision_and_removed_again():
    history = published(None, None)
    history.add(Tag("old", root(1), 4096, 1, 1001, "late"))
    assert shown(history) == {"trunk": 2, "old": 1, "trunk-previous": 1}
    history.remove("old")
    assert history.tag("old") is None


@pytest.mark.parametrize("name", ["trunk", "trunk-previous", "nothing"])
def test_the_tags_of_the_publisher_and_missing_tags_cannot_be_removed(name):
    with pytest.raises(HistoryError):
        published("v1", "v2").remove(name)


def test_generic_names_count_up_when_taken():
    now = datetime(2026, 11, 23, 3, 25, 31, 999999, tzinfo=UTC)
    history = published()
    names = []
    for revision in (1, 2, 3):
        names.append(history.generic_name(now))
        history.publish(root(revision), 1, revision, 1, name=names[-1])
    assert names == [
        "generic-2026-11-23T03:25:31Z",
        "generic_1-2026-11-23T03:25:31Z",
        "generic_2-2026-11-23T03:25:31Z",
    ]


def branched() -> History:
    """A chain of branches: default, 'fix', 'fix/one' and 'fix/two' on it; only the last and the first have tags."""
    history = History.from_bytes(
        rewritten(
            published("v1", "v2", "v3"),
            "INSERT INTO branches VALUES ('fix', '', 2), ('fix/one', 'fix', 2), ('fix/two', 'fix/one', 3)",
            f"INSERT INTO tags VALUES ('fixed', '{root(7)}', 3, 7, 0, '', 1, 'fix')",
        )
    )
    history.add(Tag("fixed-1", root(8), 1, 4, 8, branch="fix/one"))
    history.add(Tag("fixed-2", root(9), 1, 5, 9, branch="fix/two"))
    return history


def test_branches_are_carried_and_checked():
    history = History.from_bytes(branched().to_bytes())
    assert history.branches() == [
        Branch(),
        Branch("fix", "", 2),
        Branch("fix/one", "fix", 2),
        Branch("fix/two", "fix/one", 3),
    ]
    assert history.check() == []
    with pytest.raises(HistoryError, match="older than branch"):
        history.add(Tag("x", root(1), 1, 1, 1, branch="fix"))
    with pytest.raises(HistoryError, match="no branch 'nowhere'"):
        history.add(Tag("x", root(1), 1, 1, 1, branch="nowhere"))


def test_removing_the_last_tag_of_branches_prunes_them_and_keeps_their_children():
    history = branched()
    history.remove("fixed")
    assert history.branches()[1:] == [Branch("fix/one", "", 2), Branch("fix/two", "fix/one", 3)]
    history.remove("fixed-1")
    assert history.branches()[1:] == [Branch("fix/two", "", 3)]
    assert history.check() == []


def test_a_whole_chain_of_unused_branches_is_pruned_at_once():
    history = History.from_bytes(rewritten(branched(), "DELETE FROM tags WHERE name IN ('fixed', 'fixed-1')"))
    history.remove("v1")
    assert history.branches() == [Branch(), Branch("fix/two", "", 3)]


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        pytest.param("INSERT INTO branches VALUES ('b', '', 1)", "branch 'b' has no tag", id="unused branch"),
        pytest.param("UPDATE tags SET branch = 'b' WHERE name = 'v1'", "which does not exist", id="no such branch"),
        pytest.param("UPDATE branches SET initial_revision = 2", "older than its branch", id="tag before its branch"),
    ],
)
def test_the_findings_of_the_official_checker_are_ours(statement, finding):
    findings = History.from_bytes(rewritten(published("v1", "v2"), statement)).check()
    assert any(finding in one for one in findings)


def test_an_undo_republishes_the_previous_revision_once():
    history = published("v1", "v2", "v3")
    assert history.rollback_target().revision == 2
    history.rollback(None, root=root(4), size=99, revision=4, timestamp=2000)
    assert shown(history) == {"trunk": 4, "v2": 2, "v1": 1}
    assert history.tag("trunk") == Tag("trunk", root(4), 99, 4, 2000, "current HEAD")
    assert history.tag("v2").root == root(2)
    with pytest.raises(HistoryError, match="nothing to undo"):
        history.rollback_target()


def test_a_rollback_to_a_tag_moves_it_and_drops_everything_newer():
    history = published("v1", "v2", "v3", "v4")
    history.add(Tag("same-as-v2", root(2), 8192, 2, 1002))
    history.rollback("v2", root=root(5), size=99, revision=5, timestamp=2000)
    assert shown(history) == {"trunk": 5, "v2": 5, "same-as-v2": 2, "v1": 1}
    assert history.tag("v2") == Tag("v2", root(5), 99, 5, 2000, "no. v2")
    assert history.check() == []
    history.publish(root(6), 1, 6, 2001)
    assert shown(history) == {"trunk": 6, "trunk-previous": 5, "v2": 5, "same-as-v2": 2, "v1": 1}


def test_after_a_rollback_there_is_nothing_to_undo_even_if_the_target_was_the_previous_revision():
    history = published("v1", "v2", "v3")
    history.rollback("v2", root=root(4), size=99, revision=4, timestamp=2000)
    assert shown(history) == {"trunk": 4, "v2": 4, "v1": 1}


def test_a_rollback_by_the_name_trunk_previous_is_an_undo():
    named, undone = published("v1", "v2"), published("v1", "v2")
    named.rollback("trunk-previous", root=root(3), size=9, revision=3, timestamp=5)
    undone.rollback(None, root=root(3), size=9, revision=3, timestamp=5)
    assert named.to_bytes() == undone.to_bytes()


def test_a_rollback_leaves_other_branches_alone():
    history = branched()
    history.rollback("v1", root=root(10), size=9, revision=10, timestamp=5)
    assert shown(history) == {"v1": 10, "trunk": 10, "fixed-2": 5, "fixed-1": 4, "fixed": 3}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("trunk", "which is the current one", id="trunk"),
        pytest.param("v3", "which is the current one", id="a tag on the current revision"),
        pytest.param("v9", "no tag 'v9'", id="missing"),
        pytest.param("fixed", "not on the default branch", id="on another branch"),
    ],
)
def test_a_rollback_needs_an_older_tag_on_the_default_branch(name, reason):
    history = branched()
    before = history.to_bytes()
    with pytest.raises(HistoryError, match=reason):
        history.rollback(name, root=root(9), size=9, revision=9, timestamp=5)
    assert history.to_bytes() == before


def test_histories_of_older_writers_are_read_and_written_as_the_newest():
    newest = published("v1", "v2")
    revision_0 = rewritten(
        newest,
        "UPDATE properties SET value = '0' WHERE key = 'schema_revision'",
        "DROP TABLE recycle_bin",
        "CREATE TABLE old (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, "
        "description TEXT, CONSTRAINT pk_tags PRIMARY KEY (name))",
        "INSERT INTO old SELECT name, hash, revision, timestamp, 4, description FROM tags",
        "DROP TABLE tags",
        "DROP TABLE branches",
        "ALTER TABLE old RENAME TO tags",
    )
    history = History.from_bytes(revision_0)
    assert history.tags() == [replace(tag, size=0) for tag in newest.tags()]
    assert schema(history.to_bytes()) == schema(newest.to_bytes())
    assert dict(rows(history.to_bytes())["properties"])["schema_revision"] == "3"


def test_properties_of_newer_writers_are_carried():
    image = rewritten(published("v1"), "INSERT INTO properties VALUES ('novelty', '7')")
    assert dict(rows(History.from_bytes(image).to_bytes())["properties"])["novelty"] == "7"


def test_names_that_are_not_utf_8_are_carried():
    image = rewritten(published("v1"), "UPDATE tags SET name = CAST(x'ff' AS TEXT) WHERE name = 'v1'")
    history = History.from_bytes(image)
    assert history.tag("\udcff").revision == 1
    assert rows(rewritten(history, "UPDATE tags SET name = hex(name)"))["tags"][0][0] == "FF"


@pytest.mark.parametrize(
    "image",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"no database" * 1000, id="no database"),
        pytest.param(published("v1").to_bytes()[:5000], id="cut off"),
        pytest.param(rewritten(published("v1"), "DROP TABLE tags"), id="no tags table"),
        pytest.param(rewritten(published("v1"), "DROP TABLE properties"), id="no properties table"),
        pytest.param(rewritten(published("v1"), "DELETE FROM properties WHERE key = 'fqrn'"), id="no name"),
        pytest.param(
            rewritten(published("v1"), "UPDATE properties SET value = '2.0' WHERE key = 'schema'"), id="schema"
        ),
        pytest.param(rewritten(published("v1"), "UPDATE tags SET hash = 'abc'"), id="a root that is no hash"),
        pytest.param(rewritten(published("v1"), "UPDATE tags SET hash = NULL"), id="no root"),
        pytest.param(rewritten(published("v1"), "UPDATE tags SET revision = NULL"), id="no revision"),
    ],
)
def test_what_is_not_a_history_is_refused(image):
    with pytest.raises(HistoryError):
        History.from_bytes(image)
