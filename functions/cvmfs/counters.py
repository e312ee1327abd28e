"""The statistics counters of a catalog: twelve numbers, kept once for its own rows and once for all catalogs below.

Source: ``catalog_counters.h`` (``FillFieldsMap``) and ``catalog_counters.cc`` (``ApplyDelta``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from operator import add, attrgetter, sub

from functions.cvmfs.entry import Entry
from functions.cvmfs.errors import CatalogError


@dataclass(frozen=True, slots=True)
class Counters:
    """What is counted among some entries; the two sizes and ``external_file_size`` are in bytes of content.

    ``dir`` includes a catalog's own root entry and the mount points of nested catalogs, ``nested`` counts references to
    nested catalogs, ``regular`` includes chunked and external files, ``xattr`` counts entries that have attributes.
    """

    regular: int = 0
    symlink: int = 0
    special: int = 0
    dir: int = 0
    nested: int = 0
    chunked: int = 0
    chunks: int = 0
    file_size: int = 0
    chunked_size: int = 0
    xattr: int = 0
    external: int = 0
    external_file_size: int = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*map(add, _values(self), _values(other)))

    def __sub__(self, other: Counters) -> Counters:
        return Counters(*map(sub, _values(self), _values(other)))

    @property
    def entries(self) -> int:
        """The number of entries: the rows of the ``catalog`` table."""
        return self.regular + self.symlink + self.special + self.dir

    def as_mapping(self) -> dict[str, int]:
        """The numbers by name, without the prefixes ``self_`` and ``subtree_``."""
        return dict(zip(COUNTER_NAMES, _values(self), strict=True))

    @classmethod
    def of_mapping(cls, numbers: Mapping[str, int]) -> Counters:
        """The counters named in `numbers`; what it lacks is 0, an unknown name is a CatalogError."""
        unknown = numbers.keys() - set(COUNTER_NAMES)
        if unknown:
            raise CatalogError(f"no such counters: {', '.join(sorted(unknown))}")
        return cls(**numbers)

    @classmethod
    def of(cls, entry: Entry) -> Counters:
        """The counters of one entry alone."""
        return cls.tally((entry,))

    @classmethod
    def tally(cls, entries: Iterable[Entry]) -> Counters:
        """The counters of some entries; ``nested`` stays 0, since references are not entries."""
        regular = symlink = special = directories = chunked = chunks = 0
        file_size = chunked_size = xattr = external = external_file_size = 0
        for entry in entries:
            if entry.xattrs:
                xattr += 1
            if entry.is_regular:
                regular += 1
                file_size += entry.size
                if entry.chunks:
                    chunked += 1
                    chunks += len(entry.chunks)
                    chunked_size += entry.size
                if entry.extra_flags and entry.is_external:
                    external += 1
                    external_file_size += entry.size
            elif entry.is_directory:
                directories += 1
            elif entry.is_symlink:
                symlink += 1
            else:
                special += 1
        return cls(
            regular=regular,
            symlink=symlink,
            special=special,
            dir=directories,
            chunked=chunked,
            chunks=chunks,
            file_size=file_size,
            chunked_size=chunked_size,
            xattr=xattr,
            external=external,
            external_file_size=external_file_size,
        )


COUNTER_NAMES = tuple(field.name for field in fields(Counters))
"""The twelve names, without the prefixes ``self_`` and ``subtree_``."""

_values = attrgetter(*COUNTER_NAMES)

ONE_REFERENCE = Counters(nested=1)
