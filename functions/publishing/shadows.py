"""Objects in the shadow of what went: which of those that were kept out have to be looked at again.

Whoever lost a path, or found no room, has a problem that says so. When something goes that could have been in the way,
the objects are looked at again: they come in, which clears the problem, or lose again.
"""

from __future__ import annotations

from collections.abc import Iterable

from functions.errors import UploadRefused
from functions.publishing.application import Outcome
from functions.publishing.clashes import overlap
from functions.publishing.keys import AREA
from functions.publishing.quota import QUOTA_CODES
from functions.publishing.records import Problem
from functions.publishing.rules import Rules

MOST_PREFIXES = 50
"""Parts of a bucket that are looked at one by one; for more the whole bucket is."""

ROOT = ""
"""The path that everything overlaps: what went is not known."""

_MOST_PATHS = 200
"""Paths that problems are compared with; beyond, every problem about a clash counts."""


def second_look(outcome: Outcome, problems: Iterable[Problem], rules: Rules, stale: frozenset[str]) -> list[str]:
    """What to look at after a batch, refused or not: parts of keys below ``cvmfs/``, an empty one for everything.

    `stale` are keys of which the records of the batch no longer told the truth.
    """
    judged = {clash.key for clash in outcome.clashes}
    concerned = {problem.key for problem in problems if _is_concerned(problem, outcome, rules)} - judged
    prefixes = outcome.look_again | {key.removeprefix(AREA) for key in concerned | stale}
    shortest = [
        prefix for prefix in sorted(prefixes) if not any(prefix[:end] in prefixes for end in range(len(prefix)))
    ]
    return shortest if len(shortest) <= MOST_PREFIXES else [""]


def may_have_shadows(outcome: Outcome) -> bool:
    """Whether anything went that could have been in the way: only then problems have to be read."""
    return bool(outcome.vacated) or outcome.freed


def _is_concerned(problem: Problem, outcome: Outcome, rules: Rules) -> bool:
    if problem.code in QUOTA_CODES:
        return outcome.freed
    if problem.code != "path-clash":
        return False
    if len(outcome.vacated) > _MOST_PATHS:
        return True
    try:
        path = rules.target(problem.key).path
    except UploadRefused:
        return True
    return any(overlap(path, vacated) for vacated in outcome.vacated)
