"""Archives for tests, and what becomes of them: taken in as a function does, then read and checked."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from functions.adapters.memory import MemoryBlobStore, MemoryObjectSource
from functions.cvmfs.address import Address, Digest, Kind
from functions.cvmfs.catalog import Catalog
from functions.cvmfs.checker import check_repository
from functions.cvmfs.entry import Entry
from functions.cvmfs.reader import content_of, fetch_object
from functions.publishing.archive_rules import ArchiveLimits
from functions.publishing.content import Recipe
from functions.publishing.ingest import Ingest
from functions.publishing.keys import key_to_target
from functions.publishing.nesting import CatalogWeights
from functions.publishing.objects import Objects
from tests.world import NOW, World

FOLDER = Path(__file__).parent / "data" / "archives"


def member(name: str, body: bytes = b"", **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    """A member of a tar archive; attributes are those of TarInfo."""
    found = tarfile.TarInfo(name)
    found.size = len(body)
    for attribute, value in attributes.items():
        setattr(found, attribute, value)
    return found, body


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic link."""
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    """One more name of an earlier member."""
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def directory(name: str, **attributes: object) -> tuple[tarfile.TarInfo, bytes]:
    """A directory."""
    return member(name, type=tarfile.DIRTYPE, **({"mode": 0o755} | attributes))


def tar(*members: tuple[tarfile.TarInfo, bytes], mode: str = "w", dialect: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode, format=dialect, errors="surrogateescape") as archive:
        for found, body in members:
            archive.addfile(found, io.BytesIO(body))
    return packed.getvalue()


def zipped(
    *members: tuple[zipfile.ZipInfo | str, bytes], compression: int = zipfile.ZIP_DEFLATED, **options: object
) -> bytes:
    """A zip archive."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for found, body in members:
            with archive.open(_named(found, compression), "w", **options) as file:
                file.write(body)
    return packed.getvalue()


def _named(found: zipfile.ZipInfo | str, compression: int) -> zipfile.ZipInfo:
    if isinstance(found, str):
        found = zipfile.ZipInfo(found)
    found.compress_type = compression
    return found


@dataclass
class TakenIn:
    """What an archive became: a catalog mounted at its target, and objects."""

    entries: dict[str, Entry]
    contents: dict[str, bytes]
    catalogs: int


def take_in(
    name: str,
    body: bytes,
    *,
    limits: ArchiveLimits | None = None,
    weights: CatalogWeights | None = None,
    recipe: Recipe | None = None,
) -> TakenIn:
    """Take in an archive without a repository around; paths are relative to its target. Raises UploadRefused."""
    store = MemoryBlobStore()
    source = MemoryObjectSource()
    source.put("alice", f"cvmfs/{name}", body, modified=NOW)
    reader = source.open("alice", f"cvmfs/{name}")
    assert reader is not None
    target = key_to_target(f"cvmfs/{name}")
    record = Ingest(
        recipe or Recipe(), Objects(store).put, limits or ArchiveLimits(), weights or CatalogWeights()
    ).take("alice", target, reader)
    assert record.tree is not None

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    entries: dict[str, Entry] = {}
    catalogs = 0
    pending = [Digest.parse(record.tree.catalog)]
    while pending:
        with Catalog.from_bytes(fetch_object(fetch, Address(pending.pop(), Kind.CATALOG))) as catalog:
            catalogs += 1
            assert catalog.check() == []
            assert all(path == target.path or path.startswith(target.path + "/") for path, _ in catalog.walk())
            nested = catalog.nested()
            pending += [reference.digest for reference in nested.values()]
            entries |= {path.removeprefix(target.path): entry for path, entry in catalog.walk() if path not in nested}
    contents = {
        path: b"".join(
            fetch_object(fetch, Address(chunk.digest, kind), entry.compression)
            for chunk, kind in content_of(path, entry)
        )
        for path, entry in entries.items()
        if entry.is_regular
    }
    return TakenIn(entries, contents, catalogs)


def findings(world: World, fqrn: str = "alice.infn.it") -> list[str]:
    """What the checker says of a repository, contents included."""
    store = world.store_of(fqrn)

    def fetch(path: str) -> bytes | None:
        blob = store.get(path)
        return None if blob is None else blob.body

    public = world.keys.ensure_keys(fqrn, subject="", group=None, now=NOW).public_key
    report = check_repository(fetch, exists=store.has, public_keys=[public], fqrn=fqrn, now=world.clock.now, data=True)
    return [str(finding) for finding in report.findings]


def groups(entries: Mapping[str, Entry] | Iterable[tuple[str, Entry]]) -> set[frozenset[str]]:
    """The hard-link groups among entries, as sets of paths; every member must carry the count."""
    found: dict[tuple[str, int], set[str]] = {}
    counts = {}
    for path, entry in dict(entries).items():
        if entry.hardlink_group:
            key = (path.rpartition("/")[0], entry.hardlink_group)
            found.setdefault(key, set()).add(path)
            counts[path] = entry.linkcount
    for paths in found.values():
        assert {counts[path] for path in paths} == {len(paths)}
    return {frozenset(paths) for paths in found.values()}
