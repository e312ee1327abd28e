"""What a run's raw data prove: each story changes one fact, and the verdict must see it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpcbench.analysis import Run, analyse_lines
from hpcbench.content import digest, members
from hpcbench.planning import operations
from tests.bench_lines import Lines


def judged(lines: Lines) -> Run:
    return analyse_lines(lines.plan, lines.lines)


@pytest.fixture
def story(tmp_path: Path) -> Lines:
    """Two uploads, seen in two revisions, read back; nothing wrong."""
    lines = Lines(tmp_path)
    lines.put(1, "a", at=10.0)
    lines.put(2, "b", at=11.0)
    lines.notified(1, "a", at=10.1)
    lines.stored(1, at=10.2)
    lines.revision(2, at=10.5, there={"a": 1})
    lines.revision(3, at=12.5, there={"b": 2})
    lines.read("a", 1, by="probe", at=10.6)
    lines.read("a", 1)
    lines.read("b", 2)
    return lines


def counts(run: Run) -> tuple[int, int, int, int, int]:
    verdict = run.verdict
    return verdict.lost, verdict.duplicated, verdict.late, verdict.wrong, verdict.not_read_back


def test_a_run_in_which_nothing_went_wrong(story: Lines) -> None:
    run = judged(story)
    assert counts(run) == (0, 0, 0, 0, 0)
    assert run.verdict.clean
    first = run.uploads[0]
    assert (first.notified, first.stored, first.visible, first.readable) == (10.1, 10.2, 10.5, 10.6)
    assert run.uploads[1].visible == 12.5
    assert run.uploads[1].readable is None


def test_an_upload_that_no_revision_has_is_lost(story: Lines) -> None:
    story.put(3, "c", at=12.0)
    run = judged(story)
    assert counts(run) == (1, 0, 0, 0, 0)
    assert "/c" in run.verdict.examples[0]


def test_an_upload_that_vanishes_again_is_lost(story: Lines) -> None:
    story.revision(4, at=13.0, gone=("b",))
    assert judged(story).verdict.lost == 1


def test_a_deletion_that_no_revision_shows_is_lost_and_one_that_does_is_not(story: Lines) -> None:
    story.delete(3, "a", at=12.0)
    story.lines = [
        line for line in story.lines if not (line["k"] == "read" and line["path"] == "/a" and line["by"] == "end")
    ]
    assert judged(story).verdict.lost == 1
    story.revision(4, at=13.0, gone=("a",))
    run = judged(story)
    assert counts(run) == (0, 0, 0, 0, 0)
    assert run.uploads[2].visible == 13.0


def test_an_upload_that_a_later_one_overtakes_is_superseded_not_lost(story: Lines) -> None:
    story.put(3, "c", at=12.0)
    story.put(4, "c", at=12.1)
    story.revision(4, at=13.0, there={"c": 4})
    story.read("c", 4)
    run = judged(story)
    assert counts(run) == (0, 0, 0, 0, 0)
    assert run.superseded == 1


def test_an_older_content_that_comes_back_is_seen(story: Lines) -> None:
    story.put(3, "a", at=12.0)
    story.revision(4, at=13.0, there={"a": 3})
    story.revision(5, at=14.0, there={"a": 1})
    run = judged(story)
    assert (run.verdict.lost, run.verdict.duplicated) == (1, 1)
    assert run.verdict.wrong == 1  # what was read in the end is not what was uploaded last


def test_an_upload_entered_twice_is_duplicated(story: Lines) -> None:
    story.revision(4, at=13.0, there={"b": 2})
    assert counts(judged(story)) == (0, 1, 0, 0, 0)


def test_an_upload_seen_after_the_limit_is_late(story: Lines) -> None:
    story.put(3, "c", at=12.0)
    story.revision(4, at=22.1, there={"c": 3})
    story.read("c", 3)
    assert counts(judged(story)) == (0, 0, 1, 0, 0)


def test_a_file_that_nobody_uploaded_is_wrong(story: Lines) -> None:
    story.revision(4, at=13.0, there={"stray": 9})
    story.read("stray", 9)
    assert judged(story).verdict.wrong == 2  # the entry, and its content


def test_a_size_that_is_not_the_uploads_is_wrong(story: Lines) -> None:
    story.lines[4]["there"][0][2] = 99
    assert judged(story).verdict.wrong == 1


@pytest.mark.parametrize("by", ["end", "probe", "reader"])
def test_a_content_that_is_not_the_uploads_is_wrong_whoever_reads_it(story: Lines, by: str) -> None:
    story.read("a", 1, by=by, body=b"something else")
    assert judged(story).verdict.wrong == 1


def test_a_client_may_read_what_was_there_before_but_not_in_the_end(story: Lines) -> None:
    story.put(3, "a", at=12.0)
    story.revision(4, at=13.0, there={"a": 3})
    story.read("a", 1, by="reader", at=12.9)
    assert judged(story).verdict.wrong == 1  # the old content read back in the end
    story.lines = [line for line in story.lines if not (line["k"] == "read" and line["by"] == "end")]
    story.read("a", 3)
    story.read("b", 2)
    assert judged(story).verdict.clean


def test_what_was_not_read_back_is_counted(story: Lines) -> None:
    story.lines.pop()
    assert counts(judged(story)) == (0, 0, 0, 0, 1)


@pytest.mark.parametrize("kind", ["invalid", "unreadable"])
def test_a_revision_that_does_not_verify_and_a_file_that_cannot_be_read_are_wrong(story: Lines, kind: str) -> None:
    story.add(kind, fqrn="b0000.infn.it", why="SignatureError", at=1.0)
    assert judged(story).verdict.wrong == 1


def test_an_operation_that_failed_promises_nothing(story: Lines) -> None:
    story.put(3, "c", at=12.0, status=503, why="slow down")
    story.put(4, "d", at=12.0, status=0, why="connection refused")
    story.add("op", op=5, bucket="b0000", key="cvmfs/", kind="list", start=12.0, end=12.1, status=503)
    run = judged(story)
    assert run.failures == {"put: answered 503": 1, "put: connection refused": 1, "list: answered 503": 1}
    assert counts(run) == (0, 0, 0, 0, 0)


def test_times_of_a_node_whose_clock_is_wrong_are_put_right(story: Lines) -> None:
    story.clock("node", 2.0)
    story.clock("store", -0.05)
    run = judged(story)
    assert run.uploads[0].end == 12.0
    assert run.uploads[1].end == 13.0
    assert run.clock_error_s == 0.001


def test_an_archive_is_its_members(story: Lines) -> None:
    story.put(3, "tools.tar", at=12.0, kind="archive", size=50, members=3)
    row = ["/tools", story.etag(3, 50), 4096, ""]
    story.add("revision", fqrn="b0000.infn.it", revision=4, fetched=13.0, heard=13.0, there=[row], gone=[])
    assert judged(story).verdict.not_read_back == 3
    for path, body in members(3, 3, 50, story.base).items():
        story.add("read", by="end", fqrn="b0000.infn.it", path=f"/tools/{path}", sha256=digest(body), size=50, at=20.0)
    story.add("read", by="end", fqrn="b0000.infn.it", path="/tools/.cvmfscatalog", sha256=digest(b""), size=0, at=20.0)
    assert judged(story).verdict.clean


def test_what_a_stopped_client_may_have_done_is_neither_lost_nor_wrong_but_its_content_must_be_right(
    story: Lines,
) -> None:
    *_, planned = operations(story.plan)
    path = "/" + planned.key.removeprefix("cvmfs/")
    row = [path, story.etag(planned.number, planned.size), planned.size, ""]
    story.add("revision", fqrn="b0000.infn.it", revision=4, fetched=13.0, heard=13.0, there=[row], gone=[])
    read = {"by": "end", "fqrn": "b0000.infn.it", "path": path, "size": planned.size, "at": 20.0}
    story.add("read", **read, sha256=digest(story.body(planned.number, planned.size)))
    assert judged(story).verdict.clean
    story.add("read", **read, sha256=digest(b"something else"))
    assert judged(story).verdict.wrong == 1
    row[1] = "0" * 32
    assert judged(story).verdict.wrong == 2


def test_what_a_stopped_client_may_have_replaced_is_not_lost(story: Lines) -> None:
    *_, planned = operations(story.plan)
    name = planned.key.removeprefix("cvmfs/")
    story.put(3, name, at=12.0)
    story.revision(4, at=12.6, there={name: 3})
    row = [f"/{name}", story.etag(planned.number, planned.size), planned.size, ""]
    story.add("revision", fqrn="b0000.infn.it", revision=5, fetched=13.0, heard=13.0, there=[row], gone=[])
    story.read(name, planned.number, body=story.body(planned.number, planned.size))
    assert counts(judged(story)) == (0, 0, 0, 0, 0)
