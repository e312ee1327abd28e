"""One object of a bucket, as it is now, to a change record: its content stored, its attributes read."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, replace

from events.change import ChangeRecord, TreeRecord
from functions.cvmfs.entry import MARKER_NAME, Entry, base_name, parent_path
from functions.cvmfs.objects import StoredObject
from functions.errors import UploadRefused
from functions.ports import ObjectInfo, ObjectReader
from functions.publishing.application import entry_of, entry_record
from functions.publishing.archive import ArchiveLimits, Unpacking
from functions.publishing.archive_formats import unpack
from functions.publishing.attributes import Attributes, directory_mode, file_mode, read_attributes
from functions.publishing.commit import marker_entry
from functions.publishing.content import Recipe, store_content
from functions.publishing.keys import Target, TargetKind
from functions.publishing.nesting import CatalogWeights, balance
from functions.publishing.tree import CatalogTree

LINK_TARGET_LIMIT = 4096
"""Bytes in the target of a symbolic link (Linux PATH_MAX)."""


@dataclass(frozen=True, slots=True)
class Ingest:
    """What taking in an object needs: how content is stored, where it goes, and what an archive may hold."""

    recipe: Recipe
    put: Callable[[StoredObject], None]
    limits: ArchiveLimits = ArchiveLimits()
    weights: CatalogWeights = CatalogWeights()

    def take(self, bucket: str, target: Target, reader: ObjectReader) -> ChangeRecord:
        """Store the object's content and describe it; raises UploadRefused, or VersionMoved if it was replaced."""
        info = reader.info
        attributes = read_attributes(info.metadata, is_directory_marker=target.kind is TargetKind.DIRECTORY)
        record = ChangeRecord(
            bucket=bucket,
            key=info.key,
            path=target.path,
            etag=info.etag,
            modified=int(info.modified.timestamp()),
        )
        match target.kind:
            case TargetKind.DIRECTORY:
                return _with_entry(record, _directory(info, attributes))
            case TargetKind.ARCHIVE:
                return self._archive(record, reader)
            case TargetKind.LINK:
                return _with_entry(record, _link(reader, attributes))
            case _ if attributes.file_type == stat.S_IFLNK:
                return _with_entry(record, _link(reader, attributes))
            case _:
                return _with_entry(record, self._file(reader, attributes))

    def _file(self, reader: ObjectReader, attributes: Attributes) -> Entry:
        stored = store_content(reader.blocks(), self.recipe, self.put)
        return Entry(
            mode=file_mode(attributes, stored.head),
            size=stored.size,
            digest=stored.digest,
            chunks=stored.chunks,
            compression=self.recipe.compression,
            mtime=_mtime(reader.info, attributes),
        )

    def _archive(self, record: ChangeRecord, reader: ObjectReader) -> ChangeRecord:
        unpacking = Unpacking(
            name=base_name(record.key),
            stored_size=reader.info.size,
            modified=record.modified,
            recipe=self.recipe,
            put=self.put,
            limits=self.limits,
        )
        unpack(reader, unpacking)
        entries = unpacking.finished(base_name(record.path))
        return record.model_copy(update={"tree": self._tree(record, entries)})

    def _tree(self, record: ChangeRecord, entries: dict[str, Entry]) -> TreeRecord:
        """Build the nested catalogs of an unpacked archive, so that the publisher only has to mount them."""
        algorithm = self.recipe.algorithm
        marker = marker_entry(algorithm, mtime=record.modified)
        top = entries.pop("", Entry.directory(mtime=record.modified))
        entries.setdefault(f"/{MARKER_NAME}", marker)
        store_content((), self.recipe, self.put)  # the empty file, to which markers refer
        tree = CatalogTree.new(record.path, entry_of(record, entry_record(top)))
        try:
            tree.root.put_all((record.path + path, entry) for path, entry in entries.items())
            for path in entries:
                if base_name(path) == MARKER_NAME and parent_path(path):
                    tree.split(record.path + parent_path(path), auto=False, marker=marker)
            balance(tree, self.weights, marker)
            counted = len(entries) + 1
            committed = tree.commit(now_s=record.modified, ttl_s=None, algorithm=algorithm, codec=self.recipe.codec)
            for stored in committed.objects:
                self.put(stored)
            counters = tree.root.total_counters
            linkcount = tree.root.root.linkcount
        finally:
            tree.close()
        return TreeRecord(
            catalog=str(committed.root),
            catalog_size=committed.root_size,
            counters=counters.as_mapping(),
            entries=counted,
            root=entry_record(top),
            linkcount=linkcount,
        )


def removal(bucket: str, key: str, target: Target) -> ChangeRecord:
    """The record of an object that is not there."""
    return ChangeRecord(bucket=bucket, key=key, path=target.path)


def _with_entry(record: ChangeRecord, entry: Entry) -> ChangeRecord:
    return record.model_copy(update={"entry": entry_record(entry)})


def _mtime(info: ObjectInfo, attributes: Attributes) -> int:
    return int(info.modified.timestamp()) if attributes.mtime is None else attributes.mtime


def _directory(info: ObjectInfo, attributes: Attributes) -> Entry:
    return replace(Entry.directory(mtime=_mtime(info, attributes)), mode=directory_mode(attributes))


def _link(reader: ObjectReader, attributes: Attributes) -> Entry:
    info = reader.info
    if not 0 < info.size <= LINK_TARGET_LIMIT:
        raise UploadRefused(
            f"{info.key!r} is a symbolic link whose target has {info.size} bytes, expected 1 to {LINK_TARGET_LIMIT}",
            code="link-target",
        )
    content = b"".join(reader.blocks())
    try:
        target = content.decode()
    except UnicodeDecodeError as err:
        raise UploadRefused(f"{info.key!r} is a symbolic link whose target is not UTF-8", code="link-target") from err
    if "\0" in target:
        raise UploadRefused(f"{info.key!r} is a symbolic link whose target contains NUL", code="link-target")
    return Entry.link(target, mtime=_mtime(info, attributes))
