"""What is wrong with the uploads of a repository, told by the state bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gateway.cli.options import DEFAULT_FOLDER, AsJson, Fqrn, StackFolder
from gateway.cli.output import ExitCode, printable, write_json, write_line
from gateway.cli.service import service_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from functions.publishing.records import Problem


def problems(fqrn: Fqrn, *, folder: StackFolder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """List every open problem of a repository, oldest first; ends with 1 if there is any."""
    found = read_problems(service_settings("S3_ENDPOINT", folder), fqrn)
    if as_json:
        write_json(shown_problems(found))
    else:
        for line in (
            problem_lines(found, with_time=True) if found else [f"Nothing is wrong with the uploads of {fqrn}."]
        ):
            write_line(line)
    if found:
        raise typer.Exit(ExitCode.REFUSED)


def read_problems(settings: Mapping[str, str], fqrn: str, *, known: bool = True) -> list[Problem]:
    """The open problems, oldest first; raises RepositoryUnknown if the service must know it and does not."""
    from functions import wiring  # noqa: PLC0415
    from functions.publishing.overview import listed_problems  # noqa: PLC0415
    from functions.publishing.records import load_record  # noqa: PLC0415
    from functions.settings import Settings  # noqa: PLC0415

    state = wiring.build_state(Settings.from_mapping(settings))
    if known:
        load_record(state, fqrn)
    return listed_problems(state, fqrn)


def shown_problems(found: Sequence[Problem]) -> list[dict[str, object]]:
    """Problems for programs."""
    return [problem.model_dump(mode="json") for problem in found]


def problem_lines(found: Sequence[Problem], *, with_time: bool = False) -> Iterator[str]:
    """Problems for a person, each with its next step."""
    for problem in found:
        time = f"{problem.seen_at:%Y-%m-%d %H:%M:%S}  " if with_time else ""
        code = f"[{problem.code}] " if with_time else ""
        yield printable(f"{time}{problem.key}: {code}{problem.reason}")
        if problem.hint:
            yield printable(f"  {problem.hint}")
