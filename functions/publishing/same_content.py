"""Whether a local file has the content that the repository has of it, where size and time are not trusted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from functions.cvmfs.address import Address
from functions.cvmfs.entry import Entry
from functions.cvmfs.reader import content_of
from functions.publishing.content import Recipe, StoredContent, store_content
from functions.publishing.local_tree import TreeItem, TreeSource
from functions.publishing.objects import Objects


def content_comparison(source: TreeSource, recipe: Recipe, objects: Objects) -> Callable[[TreeItem, Entry], bool]:
    """The comparison for one publish; it reads each local file once, however many names it has.

    The file is packed as it would be stored, which needs no request if nothing changed. Only if the names of its
    objects differ is the stored content fetched: another program may have compressed the same bytes in another way.
    """
    linked: dict[tuple[int, int], StoredContent] = {}

    def is_same(item: TreeItem, old: Entry) -> bool:
        packed = None if item.inode is None else linked.get(item.inode)
        if packed is None:
            packed = store_content(source.blocks(item), replace(recipe, compression=old.compression), lambda _: None)
            if item.inode is not None:
                linked[item.inode] = packed
        if (packed.digest, packed.chunks) == (old.digest, old.chunks):
            return True
        return not old.is_external and _hash_of_file(source, item) == _hash_of_stored(objects, item.path, old)

    return is_same


def _hash_of_file(source: TreeSource, item: TreeItem) -> bytes:
    content = hashlib.sha256()
    for block in source.blocks(item):
        content.update(block)
    return content.digest()


def _hash_of_stored(objects: Objects, path: str, entry: Entry) -> bytes:
    content = hashlib.sha256()
    for chunk, kind in content_of(path, entry):
        content.update(objects.get(Address(chunk.digest, kind), entry.compression, limit=chunk.size))
    return content.digest()
