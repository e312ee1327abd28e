"""What a collection deletes, found in one of two ways, and its deletion.

From a listing of the store: everything that looks like an object and is not reachable, also what publishers that died
have left. Or, as upstream, only what the condemned root catalogs reach. Either way nothing goes that is younger than
the grace time, and its age is looked at again in the moment of deletion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from functions.cvmfs.address import Address, Kind
from functions.cvmfs.errors import AddressError, FormatError
from functions.cvmfs.references import nested_digests, object_addresses
from functions.cvmfs.reflog import Reference, RefType
from functions.errors import CloudError, RepositoryDamaged
from functions.ports import BlobInfo, BlobStore
from functions.publishing.reachability import KeySet, keys_of, open_catalog

OBJECTS = "data/"
"""Where objects are kept."""

LOOKED_AT = 4096
"""Objects that are compared with what is reachable in one go."""

ERRAND = 32
"""Objects that one thread deletes before it is given others."""


@dataclass(frozen=True, slots=True)
class Garbage:
    """An object that nothing needs, and what the store said of it; None if it has not been asked."""

    address: Address
    info: BlobInfo | None = None


@dataclass(slots=True)
class Swept:
    """What a sweep did, or would do: objects and stored bytes that went, by kind; and what is too young to go yet."""

    objects: Counter[Kind] = field(default_factory=Counter)
    bytes: int = 0
    young_objects: int = 0
    young_bytes: int = 0
    complete: bool = True
    """False if it was stopped by its deadline; the next one goes on."""

    @property
    def count(self) -> int:
        """How many objects went."""
        return self.objects.total()


def listed_garbage(store: BlobStore, reachable: KeySet) -> Iterator[Garbage]:
    """Every stored object that is not reachable, in path order; files with other names are left alone."""
    listing = store.list(OBJECTS)
    while batch := list(islice(listing, LOOKED_AT)):
        found = [Garbage(address, info) for info in batch if (address := _address_of(info.path)) is not None]
        kept = reachable.contains(keys_of(item.address.digest for item in found))
        yield from (item for item, is_kept in zip(found, kept, strict=True) if not is_kept)


def condemned_garbage(store: BlobStore, condemned: Sequence[Reference], reachable: KeySet) -> Iterator[Garbage]:
    """What condemned root catalogs reach and nothing else does, contents before catalogs; then auxiliary objects.

    Catalogs that are missing or damaged are passed over, as upstream.
    """
    met: set[int] = set()
    for root in condemned:
        catalogs = []
        pending = [root.digest] if root.type is RefType.CATALOG else []
        while pending:
            digest = pending.pop()
            address = Address(digest, Kind.CATALOG)
            if not _new([address], reachable, met):
                continue
            catalogs.append(address)
            contents: list[Address] = []
            try:
                catalog = open_catalog(store, digest)
                if catalog is not None:
                    with catalog:
                        contents = list(object_addresses(catalog))
                        pending += nested_digests(catalog)
            except (RepositoryDamaged, FormatError):
                pass
            yield from map(Garbage, _new(contents, reachable, met))
        yield from map(Garbage, reversed(catalogs))
    yield from map(Garbage, _new([Address(item.digest, item.type.kind) for item in condemned], reachable, met))


@dataclass(frozen=True, slots=True)
class Sweep:
    """How garbage is deleted: what was last written before `before`, until `is_over`; or, dry, only counted.

    `told` hears of every object that went, or would go; `progress` of the outcome so far, now and then.
    """

    store: BlobStore
    executor: Executor
    before: datetime
    dry_run: bool
    is_over: Callable[[], bool]
    told: Callable[[Address], None]
    progress: Callable[[Swept], None]
    at_once: int = 8

    def run(self, garbage: Iterator[Garbage]) -> Swept:
        """Delete side by side; an interruption lets what is under way finish, and be told of, and nothing begin."""
        swept = Swept()
        running: set[Future[_Errand]] = set()
        try:
            while batch := list(islice(garbage, ERRAND)):
                if self.is_over():
                    swept.complete = False
                    break
                while len(running) >= self.at_once:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    self._count(done, swept)
                running.add(self.executor.submit(self._delete, batch))
        except BaseException:
            for future in running:
                future.cancel()
            raise
        finally:
            self._count(wait(running).done, swept)
        return swept

    def _delete(self, batch: Sequence[Garbage]) -> _Errand:
        done = _Errand()
        try:
            for item in batch:
                info = item.info or self.store.info(item.address.path)
                if info is None:
                    continue
                old = info.modified < self.before
                gone = old and (self.dry_run or self.store.delete_old(item.address.path, self.before))
                (done.gone if gone else done.young).append((item.address, info.size))
        except CloudError as error:
            done.failed = error
        return done

    def _count(self, finished: Iterable[Future[_Errand]], swept: Swept) -> None:
        errands = [future.result() for future in finished if not future.cancelled()]
        for errand in errands:
            for address, size in errand.gone:
                swept.objects[address.kind] += 1
                swept.bytes += size
                self.told(address)
            swept.young_objects += len(errand.young)
            swept.young_bytes += sum(size for _, size in errand.young)
        self.progress(swept)
        for errand in errands:
            if errand.failed is not None:
                raise errand.failed


@dataclass(slots=True)
class _Errand:
    """What one thread did: objects, with their sizes, that went or are too young, and the error that ended it early."""

    gone: list[tuple[Address, int]] = field(default_factory=list)
    young: list[tuple[Address, int]] = field(default_factory=list)
    failed: CloudError | None = None


def _new(addresses: Sequence[Address], reachable: KeySet, met: set[int]) -> list[Address]:
    """Those that are not reachable and have not been met before, by their hashes; they have been met then."""
    kept = reachable.contains(keys_of(address.digest for address in addresses))
    new = [
        address for address, is_kept in zip(addresses, kept, strict=True) if not is_kept and hash(address) not in met
    ]
    met.update(map(hash, new))
    return new


def _address_of(path: str) -> Address | None:
    try:
        return Address.from_path(path)
    except AddressError:
        return None
