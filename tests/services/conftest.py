"""The world that tests of the services stand in; a file that wants it filled does so under the same name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .worlds import World, opened


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    """An empty world in a data directory, then in a PostgreSQL database."""
    with opened(place) as made:
        yield made
