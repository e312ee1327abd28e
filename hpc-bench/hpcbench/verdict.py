"""What must be zero in the end, and when it is not.

An upload is *lost* if it was the last on its key and the tree that clients see in the end has something else there;
*duplicated* if a revision enters it again; *late* if it was visible later than the scenario allows. *Wrong* is every
content, size or path that nobody uploaded, every revision that does not verify and every file that could not be read;
*not read back* is what the last tree has and nobody read in the end. What a client may or may not have done that
failed or was stopped promises nothing, but what is there must still be what it would have uploaded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from hpcbench.raw import Line
from hpcbench.uploads import Place, Row, Upload

EXAMPLES = 20
_EXAMPLES_NOT_READ = 5


@dataclass(slots=True)
class Verdict:
    """What must be zero, with the first few examples."""

    lost: int = 0
    duplicated: int = 0
    late: int = 0
    wrong: int = 0
    not_read_back: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was lost, duplicated or wrong, and everything was read back; late is a bar of its own."""
        return not (self.lost or self.duplicated or self.wrong or self.not_read_back)

    def judge_entry(self, fqrn: str, revision: int, row: Row, upload: Upload | None, *, may_be: bool) -> None:
        """A revision has a row new or changed: duplicated, or wrong, or as it should be.

        `upload` is the one it comes from, not yet marked as visible in this revision; without one, `may_be` says
        whether a doubtful operation explains the row.
        """
        where = f"{fqrn}{row.path}"
        if upload is None:
            if not may_be:
                self.found_wrong(f"{where} in revision {revision} comes from an object nobody uploaded")
        elif upload.visible is not None:
            self.duplicated += 1
            self._note(f"{where} is entered again by revision {revision}")
        elif upload.kind in {"put", "multipart"} and row.size != upload.size:
            self.found_wrong(f"{where} has {row.size} bytes instead of {upload.size}")

    def judge_upload(self, upload: Upload, there: Row | None, *, doubtful: bool, late_after_s: float) -> None:
        """All is over and `there` is what clients see in its place: lost, late, or as it should be.

        `doubtful` says that an operation in the same place may or may not have come to pass.
        """
        if upload.visible is not None and upload.visible - upload.end > late_after_s:
            self.late += 1
        if not upload.last or doubtful:
            return
        deleted = upload.kind == "delete"
        if (there is None) != deleted or (there is not None and there.etag != upload.etag):
            self.lost += 1
            self._note(f"{upload.fqrn}{upload.path}: {upload.kind} {upload.number} is not what clients see in the end")

    def judge_unread(self, missing: Collection[Place]) -> None:
        """What the last tree has and nobody read in the end."""
        self.not_read_back += len(missing)
        for fqrn, path in sorted(missing)[:_EXAMPLES_NOT_READ]:
            self._note(f"{fqrn}{path} was not read back in the end")

    def judge_refused(self, lines: Mapping[str, Iterable[Line]]) -> None:
        """Revisions that did not verify and files that could not be read, as whoever tried has written it down."""
        for kind in ("invalid", "unreadable"):
            for line in lines[kind]:
                self.found_wrong(f"{line['fqrn']} {line.get('path', '')}: {line['why']}")

    def found_wrong(self, what: str) -> None:
        """Count something wrong; contents that were read are held against uploads in ``contents.py``."""
        self.wrong += 1
        self._note(what)

    def _note(self, what: str) -> None:
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)
