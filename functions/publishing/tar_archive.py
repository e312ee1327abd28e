"""Tar archives of every dialect, read once from front to back; ``tarfile`` knows their headers.

Three things are done for it. Its memory stays small: it would keep every header, and a header may claim to be a
gigabyte long. An archive that is damaged in its middle is refused, where ``tarfile`` takes the damage for the end, and
so is one that has more members after its end. And content is read past it, since nothing of a plain file has to be
interpreted.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable, Iterable
from typing import IO, Self, cast

from functions.publishing.archive import BLOCK_BYTES, Member, Unpacking
from functions.publishing.forward_stream import ForwardStream

HEADER_BYTES = 1 << 20
"""What all headers of one member may have; long names, times and attributes need some kilobytes."""

_GNU_MAGIC = b"ustar  \0"
_LABEL = b"V"
_DUMPED_DIRECTORY = b"D"
_GLOBAL_HEADERS = 64
_TIME = re.compile(r"(-?)(\d{1,10})(?:\.(\d+))?")
_CHECKSUM = slice(148, 156)
_LARGEST_TIME = 2**33
"""Seconds; a time beyond the year 2242 is a mistake of the sender."""


def unpack_tar(blocks: Iterable[bytes], unpacking: Unpacking) -> None:
    """Unpack a tar archive that comes uncompressed in `blocks`; raises UploadRefused, and what ``tarfile`` raises."""
    stream = ForwardStream(blocks)
    stream.begin_headers(HEADER_BYTES)
    with tarfile.open(
        fileobj=cast("IO[bytes]", stream),
        mode="r:",
        tarinfo=_Header,
        errorlevel=2,
        encoding="utf-8",
        errors="surrogateescape",
    ) as tar:
        while (member := tar.next()) is not None:
            stream.end_headers()
            tar.members.clear()  # type: ignore[attr-defined]  # tarfile would remember all of them
            if len(tar.pax_headers) > _GLOBAL_HEADERS:
                raise tarfile.ReadError("too many global headers")
            _add(tar, member, stream, unpacking)
            stream.begin_headers(HEADER_BYTES)
        if any(stream.last):
            raise tarfile.ReadError("a header is damaged")
        _read_on(stream)


def _read_on(stream: ForwardStream) -> None:
    """Make sure that nothing is left out: a hole of zeros looks like the end, and so does that of a first archive.

    The end is two blocks of zeros, and what fills up the last record may be anything (POSIX, ustar interchange format).
    """
    stream.end_headers()
    if stream.last and any(stream.read(tarfile.BLOCKSIZE)):
        raise tarfile.ReadError("a header is damaged")
    at = stream.tell()
    while piece := stream.read(BLOCK_BYTES):
        if piece.count(0) < len(piece):
            for start in range(0, len(piece), tarfile.BLOCKSIZE):
                if _is_header(piece[start : start + tarfile.BLOCKSIZE]):
                    fault = f"after its end more members follow, at byte {at + start}"
                    raise tarfile.ReadError(f"{fault}: it is damaged, or several archives in one file")
        at += len(piece)


def _is_header(block: bytes) -> bool:
    if not block[_CHECKSUM].strip(b" \0").isdigit():
        return False
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


def _add(tar: tarfile.TarFile, found: tarfile.TarInfo, stream: ForwardStream, unpacking: Unpacking) -> None:
    if found.type == _LABEL:
        return
    unpacking.expect(found.size if found.isreg() else 0)
    member = Member(_name_of(found), found.mode, *_time_of(found))
    if found.isreg():
        unpacking.add_file(member, found.size, _content_of(tar, found, stream))
    elif found.isdir() or found.type == _DUMPED_DIRECTORY:
        unpacking.add_directory(member)
    elif found.issym():
        unpacking.add_link(member, found.linkname)
    elif found.islnk():
        unpacking.add_hard_link(member, found.linkname)
    elif found.isdev():
        raise unpacking.unsafe(found.name, "is a device, fifo or socket")
    else:
        raise unpacking.unsafe(found.name, f"is of an unknown type, {found.type!r}")


def _name_of(found: tarfile.TarInfo) -> str:
    """The name; a sparse member stands elsewhere for programs that do not know it, which ``tarfile`` may take for it.

    Source: *GNU tar: an archiver tool*, Storing Sparse Files.
    """
    return str(found.pax_headers.get("GNU.sparse.name", found.name))


def _content_of(tar: tarfile.TarFile, found: tarfile.TarInfo, stream: ForwardStream) -> Callable[[int], bytes]:
    if not found.issparse():
        return stream.read
    content = tar.extractfile(found)
    assert content is not None, "a regular member has content"
    return content.read


def _time_of(found: tarfile.TarInfo) -> tuple[int, int | None]:
    """Seconds and nanoseconds, the latter only where a PAX header has a fraction: ``tarfile`` rounds it."""
    text = found.pax_headers.get("mtime")
    matched = None if text is None else _TIME.fullmatch(text)
    if matched is None:
        return _plausible(int(found.mtime)), None
    sign, seconds, fraction = matched.groups()
    if fraction is None:
        return _plausible(int(sign + seconds)), None
    nanoseconds = int(fraction[:9].ljust(9, "0"))
    if sign and nanoseconds:
        return _plausible(-int(seconds) - 1), 10**9 - nanoseconds
    return _plausible(int(sign + seconds)), nanoseconds


def _plausible(seconds: int) -> int:
    return seconds if abs(seconds) <= _LARGEST_TIME else 0


class _Header(tarfile.TarInfo):
    """A header, in which GNU's own dialect has times where POSIX has the first part of a long name.

    ``tarfile`` takes them for a name: every member of an incremental backup would be in a directory like 15301215447.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """Read one block."""
        header = super().frombuf(buf, encoding, errors)
        if buf[257:265] == _GNU_MAGIC and buf[345] and header.type not in tarfile.GNU_TYPES:
            times = bytes(buf[345:500]).partition(b"\0")[0].decode(encoding, errors)
            header.name = header.name.removeprefix(f"{times}/")
        return header
