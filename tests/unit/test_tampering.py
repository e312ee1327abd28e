"""Nobody can change a stored byte unseen: every byte of the signed files is tried, and many of everything else."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from itertools import combinations

import pytest

from functions.cvmfs.checker import Report, check_repository
from functions.cvmfs.errors import FormatError
from functions.cvmfs.reader import Repository
from tests.golden import GOLDEN, golden
from tests.golden import NOW as GOLDEN_NOW
from tests.small_repository import FQRN, NOW, SmallRepository

SIGNED = (".cvmfspublished", ".cvmfswhitelist")
BITS = (0x01, 0x20, 0x80)
"""The lowest bit, the one between capitals and small letters, the highest."""


@cache
def small() -> SmallRepository:
    return SmallRepository().sealed()


def healthy() -> dict[str, bytes]:
    return small().files


def objects() -> list[str]:
    return sorted(path for path in healthy() if path.startswith("data/"))


def with_bit(body: bytes, position: int, bit: int) -> bytes:
    return body[:position] + bytes([body[position] ^ bit]) + body[position + 1 :]


def shown(files: dict[str, bytes]) -> dict[str, object]:
    """Everything that a verifying reader gives out."""
    repository = Repository.open(files.get, public_keys=small().public_keys, fqrn=FQRN, now=NOW)
    tree = repository.snapshot()
    seen: dict[str, object] = {"tags": repository.tags()}
    for path, entry in tree.walk():
        seen[path] = (entry, tree.read(path) if entry.is_regular and not entry.is_external else None)
    return seen


def checked(files: dict[str, bytes]) -> Report:
    return check_repository(
        files.get, exists=files.__contains__, public_keys=small().public_keys, fqrn=FQRN, now=NOW, data=True
    )


def assert_harmless(files: dict[str, bytes], expected: dict[str, object]) -> None:
    """The checker sees it, and the reader gives out the truth or nothing."""
    assert not checked(files).ok
    try:
        assert shown(files) == expected
    except FormatError:
        return


@pytest.mark.parametrize("bit", BITS)
@pytest.mark.parametrize("path", SIGNED)
def test_every_byte_of_a_signed_file_counts(path: str, bit: int) -> None:
    body, keys = healthy()[path], small().public_keys
    for position in range(len(body)):
        files = healthy() | {path: with_bit(body, position, bit)}
        with pytest.raises(FormatError):
            Repository.open(files.get, public_keys=keys, fqrn=FQRN, now=NOW)


@pytest.mark.parametrize("path", SIGNED)
def test_a_signed_file_has_exactly_its_length(path: str) -> None:
    body, keys = healthy()[path], small().public_keys
    others = [body[:length] for length in range(len(body))]
    others += [body + more for more in (b"\0", b"\n", b" ", body)] + [b"\n" + body]
    for other in others:
        files = healthy() | {path: other}
        with pytest.raises(FormatError):
            Repository.open(files.get, public_keys=keys, fqrn=FQRN, now=NOW)


def damages(body: bytes) -> Iterator[bytes]:
    """Some of all the ways to damage a file; the same ones every time."""
    chosen = random.Random(len(body))
    for _ in range(4):
        yield with_bit(body, chosen.randrange(len(body)), chosen.choice(BITS))
    for position in (0, len(body) - 1):
        yield with_bit(body, position, 1)
    yield from (body[:-1], b"", body + b"\0")


@pytest.mark.parametrize("path", [*objects(), ".cvmfsreflog"])
def test_damage_to_what_is_hashed_is_found_and_never_shown(path: str) -> None:
    expected = shown(healthy())
    for body in damages(healthy()[path]):
        assert_harmless(healthy() | {path: body}, expected)


def test_two_objects_that_were_exchanged_are_found_and_never_shown() -> None:
    expected = shown(healthy())
    pairs = list(combinations([*objects(), ".cvmfsreflog"], 2))
    for first, second in random.Random(1).sample(pairs, 60):
        exchanged = {first: healthy()[second], second: healthy()[first]}
        assert_harmless(healthy() | exchanged, expected)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_damaged_object_of_an_official_repository_is_named(name: str) -> None:
    repository = golden(name)
    looked_at: set[str] = set()
    damaged: dict[str, bytes] = {}

    def fetch(path: str) -> bytes | None:
        looked_at.add(path)
        return damaged.get(path, repository.fetch(path))

    def check() -> Report:
        return check_repository(
            fetch,
            exists=repository.exists,
            public_keys=[repository.public_key],
            fqrn=repository.fqrn,
            now=GOLDEN_NOW,
            data=True,
            all_tags=True,
        )

    assert check().ok
    chosen = random.Random(name)
    for path in sorted(looked_at):
        # Below a damaged catalog nothing is looked at; a file that is signed has tests of its own.
        if path.startswith("data/") and not path.endswith(("C", "H")):
            body = repository.read(path)
            damaged[path] = with_bit(body, chosen.randrange(len(body)), chosen.choice(BITS)) if body else b"\0"
    assert len(damaged) > 50
    assert {finding.where for finding in check().findings if finding.where.startswith("data/")} == damaged.keys()
