"""Scenarios: what users do, as TOML below ``scenarios/``; a scenario knows nothing of where it will run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpcbench import described
from hpcbench.errors import BenchError

K6_ACTIONS = frozenset({"put", "multipart", "overwrite", "delete", "churn", "list"})
PYTHON_ACTIONS = frozenset({"archive", "read"})


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of user, in `tasks` tasks at once.

    `files` operations in all; sizes are spread evenly over the logarithm between the two `bytes`. Either `at_once`
    users work without a pause, or operations begin at the `rate`: pairs of operations per second and seconds, each
    reached in a straight line from the one before. `after` names the load whose tasks must have ended; `of` the load
    whose keys are overwritten, deleted or read. `rounds` is for ``churn``, `members` for ``archive``, `seconds` for
    ``read`` and ``list``; `repositories` limits a load to the first few, 0 is all.
    """

    name: str
    action: str
    files: int = 0
    bytes: tuple[int, int] = (1_000, 10_000)
    at_once: int = 8
    rate: tuple[tuple[float, float], ...] = ()
    tasks: int = 1
    after: str = ""
    of: str = ""
    share: float = 1.0
    rounds: int = 1
    members: int = 0
    seconds: float = 0.0
    repositories: int = 0
    files_per_folder: int = 100

    @property
    def by_k6(self) -> bool:
        """Whether k6 plays this load; Python tasks play the others."""
        return self.action in K6_ACTIONS

    def scaled(self, scale: float) -> Load:
        """Fewer files, users and seconds; never none."""
        return dataclasses.replace(
            self,
            files=_scaled(self.files, scale),
            at_once=_scaled(self.at_once, scale**0.5),
            rate=tuple((per_s, max(1.0, seconds * scale)) for per_s, seconds in self.rate),
            members=_scaled(self.members, scale),
            seconds=max(2.0, self.seconds * scale) if self.seconds else 0.0,
            repositories=_scaled(self.repositories, scale),
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario at one scale.

    An upload that is visible more than `late_after_s` after its PUT is late; one that is not visible `settle_s` after
    the last task is lost. `read_at_once` is the share of uploads that a reader fetches as soon as they are visible; all
    are read at the end. `stop_after_s` ends the load when an upload waits that long. `from_zero` begins the load when
    no function runs, `to_zero` watches until none does again.
    """

    name: str
    title: str
    loads: tuple[Load, ...]
    repositories: int = 1
    seed: int = 1
    scale: float = 1.0
    late_after_s: float = 60.0
    settle_s: float = 120.0
    read_at_once: float = 0.0
    stop_after_s: float = 0.0
    from_zero: bool = False
    to_zero: bool = False
    bars: tuple[str, ...] = ()

    @classmethod
    def from_plan(cls, document: Mapping[str, Any]) -> Scenario:
        """The scenario as ``plan.json`` keeps it, scaled already; ``load_scenario`` reads what people write."""
        loads = tuple(Load(**_frozen(load)) for load in document["loads"])
        return cls(**_frozen({**document, "loads": loads}))

    @property
    def waves(self) -> list[list[Load]]:
        """Loads in the order in which they may begin; those of one wave run together."""
        waves: list[list[Load]] = []
        begun: set[str] = set()
        left = list(self.loads)
        while left:
            wave = [load for load in left if not load.after or load.after in begun]
            if not wave:
                raise BenchError(f"{self.name}: loads wait for each other: {', '.join(load.name for load in left)}")
            waves.append(wave)
            begun |= {load.name for load in wave}
            left = [load for load in left if load not in wave]
        return waves


def load_scenario(path: Path, *, scale: float | None = None) -> Scenario:
    """Read a scenario; raises BenchError that names what is wrong. A `scale` of None takes the file's own."""
    document = described.read(path, "Scenarios")
    loads = tuple(described.made(Load, raw, path) for raw in document.pop("load", []))
    scenario = described.made(Scenario, {"name": path.stem, **document, "loads": loads}, path)
    factor = scenario.scale if scale is None else scale
    if not 0 < factor <= 100:
        raise BenchError(f"{path}: scale is {factor}", hint="Choose one above 0, up to 100; 1 is the whole scenario.")
    scaled = dataclasses.replace(
        scenario,
        scale=factor,
        repositories=_scaled(scenario.repositories, factor),
        loads=tuple(load.scaled(factor) for load in loads) if factor != 1 else loads,
    )
    _check(scaled, path)
    return scaled


def _scaled(number: int, factor: float) -> int:
    return max(1, round(number * factor)) if number else 0


def _frozen(value: Any) -> Any:
    """Lists become tuples, below the keys of a mapping too."""
    if isinstance(value, Mapping):
        return {name: _frozen(item) for name, item in value.items()}
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _check(scenario: Scenario, path: Path) -> None:
    by_name = {load.name: load for load in scenario.loads}
    if len(by_name) != len(scenario.loads):
        raise BenchError(f"{path}: two loads have one name")
    for load in scenario.loads:
        if load.action not in K6_ACTIONS | PYTHON_ACTIONS:
            raise BenchError(f"{path}: {load.name}: no such action as {load.action!r}")
        for name in (load.after, load.of):
            if name and name not in by_name:
                raise BenchError(f"{path}: {load.name}: there is no load {name!r}")
        if load.action in {"overwrite", "delete"} and load.after != load.of:
            raise BenchError(f"{path}: {load.name} changes what {load.of!r} uploads, so it must come after it")
        if load.action == "churn" and load.rate:
            raise BenchError(f"{path}: {load.name}: churn keeps the order of each key and so has no rate")
    _ = scenario.waves
