"""One object of a bucket, as it is now, to a change record: its content stored, its attributes read."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from events.change import ChangeRecord, TreeRecord, Withheld
from functions.cvmfs.address import Kind
from functions.cvmfs.entry import MARKER_NAME, Entry, base_name
from functions.cvmfs.objects import StoredObject, pack
from functions.errors import UploadRefused
from functions.ports import ObjectInfo, ObjectReader
from functions.publishing.archive import LINK_TARGET_LIMIT, Unpacking
from functions.publishing.archive_formats import unpack
from functions.publishing.archive_rules import ArchiveLimits, ArchiveRules
from functions.publishing.archive_tree import ArchiveTree
from functions.publishing.attributes import Attributes, Permissions, directory_mode, file_mode, read_attributes
from functions.publishing.commit import marker_entry
from functions.publishing.content import Recipe, store_content
from functions.publishing.keys import NAME_LIMIT, SETTINGS_KEY, Target, TargetKind
from functions.publishing.nesting import CatalogWeights, balance
from functions.publishing.rules import Rules
from functions.publishing.small_files import SmallFiles
from functions.publishing.sources import entry_of, entry_record


@dataclass(frozen=True, slots=True)
class Ingest:
    """What taking in an object needs: how content is stored, where it goes, and what an archive may hold.

    With an `executor` chunks, and the small files of archives, are packed by its threads; `put` is called in this one.
    """

    recipe: Recipe
    put: Callable[[StoredObject], None]
    limits: ArchiveLimits = ArchiveLimits()
    weights: CatalogWeights = CatalogWeights()
    executor: Executor | None = None
    rules: Rules = Rules()

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
            rules=self.rules.mark,
            permissions=self.rules.permissions,
        )
        match target.kind:
            case TargetKind.DIRECTORY:
                _check_marker(info)
                return _with_entry(record, _directory(info, attributes, self.rules.permission_bits))
            case TargetKind.ARCHIVE if attributes.file_type == stat.S_IFLNK:
                raise _link_as_archive(reader)
            case TargetKind.ARCHIVE:
                return self._archive(record, reader)
            case TargetKind.LINK:
                return _with_entry(record, _link(reader, attributes))
            case _ if attributes.file_type == stat.S_IFLNK and base_name(target.path) != MARKER_NAME:
                return _with_entry(record, _link(reader, attributes))
            case _:
                return _with_entry(record, self._file(reader, attributes))

    def _file(self, reader: ObjectReader, attributes: Attributes) -> Entry:
        check_size(reader.info, self.rules)
        stored = store_content(reader.blocks(), self.recipe, self.put, self.executor)
        return Entry(
            mode=file_mode(attributes, stored.head, self.rules.permission_bits),
            size=stored.size,
            digest=stored.digest,
            chunks=stored.chunks,
            compression=self.recipe.compression,
            mtime=_mtime(reader.info, attributes),
            mtime_ns=attributes.mtime_ns,
        )

    def _archive(self, record: ChangeRecord, reader: ObjectReader) -> ChangeRecord:
        unpacked = ArchiveTree(record.path, modified=record.modified, fold=base_name(record.path))
        unpacking = Unpacking(
            name=base_name(record.key),
            stored_size=reader.info.size,
            tree=unpacked,
            files=SmallFiles(self.recipe, self.put, self.executor),
            limits=self.limits,
            rules=ArchiveRules(readable_by_all=self.rules.permission_bits.readable_by_all),
        )
        try:
            unpack(reader, unpacking)
            marked = unpacking.finish()
            return record.model_copy(update={"tree": self._tree(record, unpacked, marked)})
        finally:
            unpacked.close()

    def _tree(self, record: ChangeRecord, unpacked: ArchiveTree, marked: list[str]) -> TreeRecord:
        """Build the nested catalogs of an unpacked archive, so that the publisher only has to mount them."""
        algorithm = self.recipe.algorithm
        marker = marker_entry(algorithm, mtime=record.modified)
        tree = unpacked.tree
        top = entry_record(tree.root.root)
        tree.root.set_root(entry_of(record, top))
        if tree.lookup(f"{record.path}/{MARKER_NAME}") is None:
            tree.put(f"{record.path}/{MARKER_NAME}", marker)
        self.put(pack(b"", Kind.FILE, algorithm))  # the empty file, to which markers refer
        entries = tree.root.entry_count
        for directory in reversed(marked):  # children before parents, so that every row moves once
            tree.split(directory, auto=False, marker=marker)
        balance(tree, self.weights, marker)
        committed = tree.commit(now_s=record.modified, ttl_s=None, algorithm=algorithm, codec=self.recipe.codec)
        for stored in committed.objects:
            self.put(stored)
        return TreeRecord(
            catalog=str(committed.root),
            catalog_size=committed.root_size,
            counters=tree.root.total_counters.as_mapping(),
            entries=entries,
            root=top,
            linkcount=tree.root.root.linkcount,
        )


def check_size(info: ObjectInfo, rules: Rules) -> None:
    """Raise UploadRefused for a file that is larger than the repository's limit; nothing of it has to be read."""
    limit = rules.settings.file_bytes_limit
    if limit is not None and info.size > limit:
        raise UploadRefused(
            f"{info.key!r} has {info.size} bytes, a file may have {limit}",
            code="file-too-large",
            hint="Split it, or ask for a higher limit.",
        )


def removal(bucket: str, key: str, target: Target, *, told_at: int = 0) -> ChangeRecord:
    """The record of an object that is not there; `told_at` is when somebody told of it (epoch seconds), 0 if nobody."""
    return ChangeRecord(bucket=bucket, key=key, path=target.path, modified=told_at)


def withheld(bucket: str, info: ObjectInfo, target: Target, reason: Withheld, rules: Rules) -> ChangeRecord:
    """The record of an object that is there and not to be published: an older version of it has to go."""
    return ChangeRecord(
        bucket=bucket,
        key=info.key,
        path=target.path,
        etag=info.etag,
        modified=int(info.modified.timestamp()),
        withheld=reason,
        rules=rules.mark,
    )


def _with_entry(record: ChangeRecord, entry: Entry) -> ChangeRecord:
    return record.model_copy(update={"entry": entry_record(entry)})


def _mtime(info: ObjectInfo, attributes: Attributes) -> int:
    return int(info.modified.timestamp()) if attributes.mtime is None else attributes.mtime


def _directory(info: ObjectInfo, attributes: Attributes, rules: Permissions) -> Entry:
    entry = Entry.directory(mtime=_mtime(info, attributes))
    return replace(entry, mode=directory_mode(attributes, rules), mtime_ns=attributes.mtime_ns)


def _check_marker(info: ObjectInfo) -> None:
    """Raise UploadRefused for the marker object of a directory that has content: nobody would find that."""
    if info.size:
        raise UploadRefused(
            f"{info.key!r} has {info.size} bytes, and a key that ends in a slash stands for a directory",
            code="marker-with-content",
            hint="Upload the content under a name without the slash; a directory needs no object, or an empty one.",
        )


def _link_as_archive(reader: ObjectReader) -> UploadRefused:
    """The refusal of a link (s3fs) whose name is an archive's: listings do not tell the two apart."""
    start = next(iter(reader.blocks()), b"")[:NAME_LIMIT].decode(errors="replace")
    return UploadRefused(
        f"{reader.info.key!r} is a symbolic link, to {start!r}, with the name of an archive, which is to be unpacked",
        code="link-as-archive",
        hint=f"Give the link another name, or have archives published as files in {SETTINGS_KEY}.",
    )


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
    return replace(Entry.link(target, mtime=_mtime(info, attributes)), mtime_ns=attributes.mtime_ns)
