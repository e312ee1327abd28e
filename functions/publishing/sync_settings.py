"""``.cvmfs-sync.toml``: what the owner of a bucket decides about its publication, read and judged.

A file with any mistake has no effect at all: half of somebody's rules may be the opposite of what they want.
"""

from __future__ import annotations

import re
import tomllib
from datetime import time
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from functions.publishing.keys import ArchivePlace
from functions.publishing.patterns import PatternFault, parse_pattern

SIZE_LIMIT = 64 << 10
"""Bytes of the file."""

_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_FAULTS_SHOWN = 10


class SyncSettingsFault(ValueError):
    """The file has mistakes: one sentence each, with line and field."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults[:_FAULTS_SHOWN]))
        self.shown = faults[:_FAULTS_SHOWN]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _is_pattern(text: str) -> str:
    try:
        parse_pattern(text)
    except PatternFault as err:
        raise ValueError(str(err)) from err
    return text


def _is_window(text: str) -> str:
    matched = _WINDOW.fullmatch(text)
    if matched is None or matched[1] + matched[2] == matched[3] + matched[4]:
        raise ValueError("expected two different times of day in UTC, as in '22:00-06:00'")
    return text


Pattern = Annotated[str, Field(max_length=255), AfterValidator(_is_pattern)]
Window = Annotated[str, AfterValidator(_is_window)]


class ArchiveSettings(_Table):
    """Table ``[archives]``; None is the repository's own setting."""

    unpack: bool | None = None
    target: Literal["name", "software"] = "name"


class PermissionSettings(_Table):
    """Table ``[permissions]``: those of files, and whether everybody may read everything."""

    files: Literal["metadata", "0644", "0755"] = "metadata"
    readable_by_all: bool = True

    @property
    def mark(self) -> str:
        """How an entry says that it was made by these rules; empty for the usual ones."""
        told = [] if self.files == "metadata" else [f"files={self.files}"]
        return ",".join(told if self.readable_by_all else [*told, "readable_by_all=false"])


class PublishSettings(_Table):
    """Table ``[publish]``: the time of day in UTC at which revisions may be made, and seconds between them."""

    window: Window | None = None
    min_interval: Annotated[int, Field(ge=0, le=86_400)] = 0

    def is_open(self, now: time) -> bool:
        """Whether a revision may be made at this time of day (UTC)."""
        if self.window is None:
            return True
        begin, end = (time.fromisoformat(part) for part in self.window.split("-"))
        return begin <= now < end if begin < end else now >= begin or now < end


class SyncSettings(_Table):
    """The whole file; an empty one is the same as none."""

    exclude: Annotated[tuple[Pattern, ...], Field(max_length=200, strict=False)] = ()
    archives: ArchiveSettings = ArchiveSettings()
    permissions: PermissionSettings = PermissionSettings()
    publish: PublishSettings = PublishSettings()

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read the file; raises SyncSettingsFault with every mistake."""
        if len(content) > SIZE_LIMIT:
            raise SyncSettingsFault([f"it has more than {SIZE_LIMIT} bytes"])
        try:
            text = content.decode()
        except UnicodeDecodeError as err:
            line = content.count(b"\n", 0, err.start) + 1
            raise SyncSettingsFault([f"line {line}: it is not UTF-8"]) from err
        try:
            values: dict[str, Any] = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as err:
            raise SyncSettingsFault([f"it is not TOML: {err}"]) from err
        try:
            return cls.model_validate(values)
        except ValidationError as err:
            faults = [_fault(text, fault["loc"], fault["type"], fault["msg"]) for fault in err.errors()]
            raise SyncSettingsFault(faults) from err

    def archive_place(self, *, unpack: bool) -> ArchivePlace:
        """What becomes of archives, where `unpack` is the repository's own setting."""
        wanted = unpack if self.archives.unpack is None else self.archives.unpack
        return ArchivePlace(self.archives.target) if wanted else ArchivePlace.FILE


def _fault(text: str, location: tuple[int | str, ...], kind: str, message: str) -> str:
    names = [str(part) for part in location if isinstance(part, str)]
    field = ".".join(names)
    if kind == "extra_forbidden":
        message = "there is no such setting"
    positions = [part for part in location if isinstance(part, int)]
    if positions:
        field += f"[{positions[0]}]"
    line = _line_of(text, names)
    where = f"line {line}, {field}" if line else field
    return f"{where}: {message.removeprefix('Value error, ')}"


def _line_of(text: str, names: list[str]) -> int:
    """The line on which a setting stands, or its table; 0 if it is written in a way that is not looked for."""
    table: list[str] = []
    found = 0
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if bare.startswith("["):
            table = [part.strip().strip("\"'") for part in bare.strip("[]").split(".")]
            if table == names[: len(table)]:
                found = found or number
        elif "=" in bare:
            name = [part.strip().strip("\"'") for part in bare.partition("=")[0].split(".")]
            here = [*table, *name]
            if here == names[: len(here)]:
                return number
    return found
