"""Fixtures that many stories begin with."""

from collections.abc import Iterator

import pytest

from tests.world import World


@pytest.fixture
def world() -> Iterator[World]:
    """A whole service in memory, without a repository."""
    world = World()
    yield world
    world.close()


@pytest.fixture
def alices_repository(world: World) -> str:
    """The repository alice.infn.it, in `world` before the story begins."""
    return world.repository()
