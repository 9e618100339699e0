"""Default fixtures of the service tests; files override them under the same names to fill them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.domain.fields import CollectionPath
from akidb.operations.tenants import UpdateTenant

from .worlds import World, opened


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    """An empty world in a data directory, then in a PostgreSQL database."""
    with opened(place) as made:
        yield made


@pytest.fixture
def path(world: World) -> CollectionPath:
    """An empty collection of a tenant whose rate of operations does not matter."""
    made = world.place()
    world.ops.perform(UpdateTenant(tenant="aki-labs", qps_quota=10**6))
    return made
