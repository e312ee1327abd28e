"""Every content that anybody read, held against what was uploaded: made again from the numbers of the operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from functools import cache

from hpcbench.clocks import Correction
from hpcbench.content import base_text, content, digest, members
from hpcbench.raw import Line
from hpcbench.uploads import Place, Upload, Verdict

MARKER = "/.cvmfscatalog"
"""The service's own file, where the nested catalog of an archive begins."""


class Contents:
    """What may be read where; `tree` is what is there in the end, `doubtful` what a failed operation leaves open."""

    def __init__(
        self, uploads: Iterable[Upload], seed: int, *, tree: Collection[Place], doubtful: Collection[Place]
    ) -> None:
        self._base = base_text(seed)
        self._tree = tree
        self._doubtful = doubtful
        self._files: dict[Place, list[Upload]] = defaultdict(list)
        self._archives: set[Place] = set()
        self._members: dict[Place, set[str]] = defaultdict(set)
        self._final_members: dict[Place, str] = {}
        for upload in uploads:
            if upload.kind == "archive":
                self._enter_archive(upload)
            elif upload.kind != "delete":
                self._files[upload.place].append(upload)
        self._digest = cache(lambda number, size: digest(content(number, size, self._base)))

    def check(self, reads: Iterable[Line], clocks: Mapping[str, Correction], verdict: Verdict) -> None:
        """Count what is wrong or was not read in the end; note when each upload was read first."""
        read_back: set[Place] = set()
        for line in reads:
            place = line["fqrn"], line["path"]
            if place[1].endswith(MARKER) and place not in self._files:
                continue
            at_end = line["by"] == "end"
            if at_end:
                read_back.add(place)
            if not self._right(place, line["sha256"], at_end=at_end) and place not in self._doubtful:
                verdict.wrong += 1
                verdict.note(f"{place[0]}{place[1]} has a content that nobody uploaded (read by {line['by']})")
            if not at_end:
                self._note_read(place, line, clocks.get(line.get("host", ""), Correction(())))
        missing = ((set(self._tree) - self._archives) | self._final_members.keys()) - read_back
        verdict.not_read_back += len(missing)
        for fqrn, path in sorted(missing)[:5]:
            verdict.note(f"{fqrn}{path} was not read back in the end")

    def _enter_archive(self, upload: Upload) -> None:
        self._archives.add(upload.place)
        for path, body in members(upload.number, upload.files, upload.size, self._base).items():
            place = upload.fqrn, f"{upload.path}/{path}"
            self._members[place].add(digest(body))
            if upload.last and upload.place in self._tree:
                self._final_members[place] = digest(body)

    def _right(self, place: Place, sha256: str, *, at_end: bool) -> bool:
        """In the end only the last upload's content is right, before that any of those to the same place."""
        if place in self._members:
            return sha256 == self._final_members.get(place) if at_end else sha256 in self._members[place]
        uploads = self._files.get(place, [])
        return any(self._digest(each.number, each.size) == sha256 for each in uploads if each.last or not at_end)

    def _note_read(self, place: Place, line: Line, correct: Correction) -> None:
        at = correct(line["at"])
        for upload in self._files.get(place, []):
            first = upload.readable is None or at < upload.readable
            seen = upload.visible is not None and at >= upload.visible
            if first and seen and self._digest(upload.number, upload.size) == line["sha256"]:
                upload.readable = at
