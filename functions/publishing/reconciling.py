"""One repository held against its bucket: what is different, and whether the bucket can be believed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog_cache import CatalogCache
from functions.cvmfs.tree_view import TreeView
from functions.errors import Permanent, RepositoryNotReady, UploadRefused
from functions.ports import BlobStore, ObjectInfo, ObjectSource
from functions.publishing.clashes import Claim, clash_of
from functions.publishing.comparison import Difference, Expected, Pair, Reason, SideBySide, Tally, judge
from functions.publishing.head import ObjectCache, read_head, read_object
from functions.publishing.keys import AREA
from functions.publishing.objects import Objects
from functions.publishing.pinning import Pin, is_held_back, read_pin
from functions.publishing.records import RepositoryRecord, problem_of, problem_path
from functions.publishing.sourced_entries import SourcedEntries, sourced

OPEN_CATALOGS = 8 << 20
"""Bytes of catalogs that are kept open beside those from the root to where the comparison is."""

TRY_REFUSED_AGAIN = timedelta(days=1)
"""Age from which a refusal is no longer taken for granted: limits, rules and what was in the way may have changed."""


class BucketNotBelieved(Permanent):
    """The bucket would empty a repository that has something in it, or cannot be read."""

    def __init__(self, message: str, *, code: str, hint: str) -> None:
        super().__init__(message)
        self.reason_code = code
        self.next_step = hint

    def explained(self) -> str:
        """The message followed by the next step of this very refusal."""
        return f"{self} {self.next_step}"

    def as_problem(self) -> UploadRefused:
        """The same for the user's list of problems."""
        return UploadRefused(str(self), code=self.reason_code, hint=self.next_step)


@dataclass(frozen=True, slots=True)
class Scope:
    """What is compared: keys that start with ``cvmfs/<prefix>`` and are above `after`; `again` with refused ones.

    Unless `thorough`, entries that stand elsewhere than their keys say are not looked for, which means to look through
    all catalogs: small parts are asked for often, by functions that know what they are after.
    """

    prefix: str = ""
    after: str = ""
    again: bool = False
    thorough: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """One key that was looked at: what is different about it, if anything; `refused` if it is and stays so."""

    key: str
    difference: Difference | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Reconciling:
    """A bucket and the live revision of its repository, side by side; nothing is written.

    `tally` counts on the way. `told_of` gathers the problems of objects that are there and still differ, `in_order`
    those of objects that do not.
    """

    record: RepositoryRecord
    source: ObjectSource
    state: BlobStore
    view: TreeView
    expected: Expected
    now: datetime
    keep_gone: bool = False
    """Whether nothing is taken for gone, since the bucket is another one than it was."""
    settled: datetime | None = None
    """Until when objects were written that are looked at, aware; None for all of them."""
    tally: Tally = field(default_factory=Tally)
    told_of: set[str] = field(default_factory=set)
    in_order: set[str] = field(default_factory=set)

    def check_bucket(self, *, exists: bool, empty_limit: int) -> None:
        """Raise BucketNotBelieved if following the bucket would empty the repository.

        An empty bucket is believed only if it is the one that it was and at most `empty_limit` entries would go. Raises
        StoreForbids or StoreUnavailable if it cannot be listed.
        """
        if exists and next(self.source.list(self.record.bucket, AREA), None) is not None:
            return
        would_go = SourcedEntries(self.view).count(empty_limit + 1)
        if not would_go or (exists and not self.keep_gone and would_go <= empty_limit):
            return
        bucket, many = self.record.bucket, f"{'more than ' * (would_go > empty_limit)}{min(would_go, empty_limit)}"
        what = "is empty" if exists else "does not exist"
        raise BucketNotBelieved(
            f"bucket {bucket} {what}, and the repository has {many} files and directories from it: nothing was removed",
            code="bucket-empty" if exists else "bucket-missing",
            hint="Upload again what should be there. If nothing should be: `cvmfs-cloud sync --allow-empty`.",
        )

    def verdicts(self, scope: Scope = Scope()) -> Iterator[Verdict]:
        """Every key of either side in byte order; raises StoreForbids or StoreUnavailable on the way."""
        prefix = AREA + scope.prefix
        entries = SourcedEntries(self.view, thorough=scope.thorough)
        pin = read_pin(self.view.open_root())
        told = {info.path for info in self.state.list(f"problems/{self.record.repository}/")}
        pairs = SideBySide(
            self.source.list(self.record.bucket, prefix, after=scope.after),
            entries.in_key_order(prefix, scope.after),
            self.tally,
        )
        for pair in pairs:
            found = judge(pair, self.expected)
            if found is not None and found.reason is Reason.NEW:
                found = self._judge_new(pair, found)
            if found is None:
                self._note_order(pair, told)
                yield Verdict(pair.key)
            elif self._is_on_its_way(pair):
                yield Verdict(pair.key)
            elif _is_held_back(pin, pair):
                self.tally.held += 1
                yield Verdict(pair.key)
            elif self.keep_gone and found.reason is Reason.GONE:
                self.tally.kept += 1
                yield Verdict(pair.key)
            elif self._stays_out(found, told) and not scope.again:
                self.tally.refused += 1
                yield Verdict(pair.key, refused=True)
            else:
                self.tally.count(found.reason)
                yield Verdict(pair.key, found)

    def _is_on_its_way(self, pair: Pair) -> bool:
        """Whether the object was written so lately that its notification does what there is to do."""
        return self.settled is not None and pair.info is not None and pair.info.modified > self.settled

    def _judge_new(self, pair: Pair, found: Difference) -> Difference | None:
        """A second look at an object without an entry where its key says: it may have one where it belongs."""
        entry = self.view.lookup(found.path)
        here = None if entry is None else sourced(found.path, entry)
        if here is None or here.key != pair.key:
            return found
        return judge(replace(pair, entries=(here,)), self.expected)

    def _note_order(self, pair: Pair, told: set[str]) -> None:
        """Take note of a problem with an object that is published as it is, or left out as the rules say."""
        path = problem_path(self.record.repository, pair.key)
        if pair.info is not None and path in told:
            self.in_order.add(path)

    def _stays_out(self, found: Difference, told: set[str]) -> bool:
        """Whether the user has been told that this very object is refused, and nothing speaks for another try."""
        path = problem_path(self.record.repository, found.key)
        if found.info is None or path not in told:
            return False
        self.told_of.add(path)
        problem = problem_of(self.state, self.record.repository, found.key)
        # The same content at another time may have other metadata, and wins other clashes.
        version = found.info.etag, int(found.info.modified.timestamp())
        if problem is None or (problem.etag, problem.modified) != version:
            return False
        if self.now - problem.seen_at >= TRY_REFUSED_AGAIN:
            return False
        if problem.code != "path-clash":
            return True
        return found.reason is not Reason.REFUSED and self._still_loses(found.info)

    def _still_loses(self, info: ObjectInfo) -> bool:
        """Whether something newer is in the way of an object, in the revision that is looked at."""
        target = self.expected.wanted(info.key)
        return target is not None and clash_of(self.view, Claim.of_object(info, target)) is not None


def _is_held_back(pin: Pin | None, pair: Pair) -> bool:
    """Whether a rollback holds back what a look at this key would find."""
    if pair.info is not None:
        return is_held_back(pin, int(pair.info.modified.timestamp()))
    return is_held_back(pin, 0, max(entry.modified for entry in pair.entries))


def open_view(fqrn: str, store: BlobStore, cache: ObjectCache, *, few: bool = False) -> TreeView:
    """The tree of the live revision; raises RepositoryNotReady before the first one.

    What is read is kept in `cache` only if `few` catalogs will be: a pass through all of them would fill it with what
    is not asked for again before it has gone.
    """
    head = read_head(store)
    if head is None:
        raise RepositoryNotReady(f"repository {fqrn} has no revision yet")
    objects = Objects(store)

    def load(digest: Digest) -> bytes:
        return read_object(objects, cache, Address(digest, Kind.CATALOG), keep=few)

    return TreeView(head.manifest.root, load, CatalogCache(OPEN_CATALOGS))
