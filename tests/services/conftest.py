"""The default `world` fixture of the service tests; files override it under the same name to fill it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .worlds import World, opened


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    """An empty world in a data directory, then in a PostgreSQL database."""
    with opened(place) as made:
        yield made
