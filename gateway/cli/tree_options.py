"""What is taken from a local tree, and how it is stored: the options of publishing one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal

import typer

_OWNER = re.compile(r"(\d{1,10}):(\d{1,10})")
_LARGEST_ID = 2**32 - 1
REMARKS_SHOWN = 10


def _owner(text: str) -> tuple[int, int]:
    found = _OWNER.fullmatch(text)
    if found is None or max(map(int, found.groups())) > _LARGEST_ID:
        raise typer.BadParameter(f"{text!r} is no owner: write two numbers, UID:GID")
    return int(found[1]), int(found[2])


Owner = Annotated[
    tuple | None,  # type: ignore[type-arg]  # typer takes it for two options otherwise
    typer.Option(
        metavar="UID:GID", parser=_owner, show_default="as in the tree", help="Who owns every file that is published."
    ),
]
Xattrs = Annotated[
    bool,
    typer.Option("--xattrs", help="Publish extended attributes too: user.* and file capabilities."),
]
Compressed = Annotated[
    Literal["zlib", "none"] | None,
    typer.Option("--compression", show_default="as the repository was made", help="How new content is stored."),
]
Checksum = Annotated[
    bool, typer.Option("--checksum", help="Compare all files by content, not by size and time of modification.")
]
AllowEmpty = Annotated[
    bool, typer.Option("--allow-empty", help="Let an empty tree remove everything that is published.")
]


def shown_remarks(remarks: Sequence[str]) -> list[str]:
    """The first of some sentences, and how many there are more."""
    more = len(remarks) - REMARKS_SHOWN
    return list(remarks[:REMARKS_SHOWN]) + ([f"... and {more} more."] if more > 0 else [])
