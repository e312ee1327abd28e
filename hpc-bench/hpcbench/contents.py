"""Every content that anybody read, held against what was uploaded: made again from the numbers of the operations."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache

from hpcbench.clocks import Correction
from hpcbench.content import base_text, content, digest, members
from hpcbench.plan import Operation
from hpcbench.raw import Line
from hpcbench.uploads import Place, Upload
from hpcbench.verdict import Verdict

MARKERS = ("/.cvmfscatalog", "/.cvmfsautocatalog")
"""The service's own files, where a nested catalog begins."""


class Contents:
    """What may be read where; `doubtful` are planned operations of which nobody knows whether they came to pass."""

    def __init__(self, uploads: Iterable[Upload], seed: int, *, doubtful: Mapping[Place, Sequence[Operation]]) -> None:
        self._base = base_text(seed)
        self._doubtful = doubtful
        self._files: dict[Place, list[Upload]] = defaultdict(list)
        self._archives: set[Place] = set()
        self._members: dict[Place, set[str]] = defaultdict(set)
        self._last_archives: list[tuple[Place, dict[Place, str]]] = []
        for upload in uploads:
            if upload.kind == "archive":
                self._enter_archive(upload)
            elif upload.kind != "delete":
                self._files[upload.place].append(upload)
        self._digest = cache(lambda number, size: digest(content(number, size, self._base)))
        self._etag = cache(lambda number, size: _md5(content(number, size, self._base)))

    def may_be(self, place: Place, etag: str) -> bool:
        """Whether an object that nobody reported can be what a doubtful operation has put there."""
        return any("-" in etag or etag == self._etag(each.number, each.size) for each in self._doubtful.get(place, ()))

    def check(
        self, reads: Iterable[Line], tree: Collection[Place], clocks: Mapping[str, Correction], verdict: Verdict
    ) -> None:
        """Count what is wrong, and what of `tree` was not read in the end; note when each upload was read first."""
        final_members = {
            place: sha256 for top, inside in self._last_archives if top in tree for place, sha256 in inside.items()
        }
        read_back: set[Place] = set()
        for line in reads:
            place = line["fqrn"], line["path"]
            if place[1].endswith(MARKERS) and place not in self._files:
                continue
            at_end = line["by"] == "end"
            if at_end:
                read_back.add(place)
            if not self._right(place, line["sha256"], final_members, at_end=at_end):
                verdict.found_wrong(f"{place[0]}{place[1]} has a content that nobody uploaded (read by {line['by']})")
            if not at_end:
                self._note_read(place, line, clocks.get(line.get("host", ""), Correction(())))
        verdict.judge_unread(((set(tree) - self._archives) | final_members.keys()) - read_back)

    def _enter_archive(self, upload: Upload) -> None:
        self._archives.add(upload.place)
        inside = {
            (upload.fqrn, f"{upload.path}/{path}"): digest(body)
            for path, body in members(upload.number, upload.files, upload.size, self._base).items()
        }
        for place, sha256 in inside.items():
            self._members[place].add(sha256)
        if upload.last:
            self._last_archives.append((upload.place, inside))

    def _right(self, place: Place, sha256: str, final_members: Mapping[Place, str], *, at_end: bool) -> bool:
        """In the end only the last upload's content is right, before that any of those to the same place."""
        if place in self._members:
            return sha256 == final_members.get(place) if at_end else sha256 in self._members[place]
        doubtful = self._doubtful.get(place, ())
        known = [each for each in self._files.get(place, []) if each.last or not at_end or doubtful]
        may_be = [(each.number, each.size) for each in known] + [(each.number, each.size) for each in doubtful]
        return any(self._digest(number, size) == sha256 for number, size in may_be)

    def _note_read(self, place: Place, line: Line, correct: Correction) -> None:
        at = correct(line["at"])
        for upload in self._files.get(place, []):
            first = upload.readable is None or at < upload.readable
            seen = upload.visible is not None and at >= upload.visible
            if first and seen and self._digest(upload.number, upload.size) == line["sha256"]:
                upload.readable = at


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
