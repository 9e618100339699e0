"""A data directory or PostgreSQL database opened in process, with helpers to fill it."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.entities import AuditEntry, Collection, Database, Tenant
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.observe import context
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.declare import Request
from akidb.operations.tenants import CreateTenant
from akidb.settings import Settings
from akidb.sql.sqlite import SqliteFile

DIMENSION = 16
Floats = NDArray[np.float32]
A = TypeVar("A")


class World:
    """One connection to a place: a data directory, or the URL of a database."""

    def __init__(self, place: Path | str, **settings: Any) -> None:
        self._place = place
        models = (
            Path(tempfile.gettempdir(), "akidb-no-models") if isinstance(place, str) else place / "models"
        )
        self.settings = Settings(models_dir=str(models), default_model="hash", wait_seconds=0, **settings)
        self.ops = self.connect()

    @property
    def directory(self) -> Path:
        """The directory; a test that asks for it is marked `on_files`."""
        assert isinstance(self._place, Path)
        return self._place

    def connect(self) -> LocalOperations:
        """One more connection."""
        return open_local(self._place, self.settings)

    def reopen(self) -> None:
        """Close the connection and make a new one, as after a restart."""
        self.ops.close()
        self.ops = self.connect()

    def on(self, path: CollectionPath, request: Callable[..., Request[A]], **fields: Any) -> A:
        """Ask something of the collection at this path."""
        return self.ops.perform(request(**path._asdict(), **fields))

    def service(self, request: type[Request[Any]]) -> Any:
        """The service that carries such a request out."""
        return service_of(self.ops, request)

    def tenant(self, name: str = "Aki Labs", **fields: Any) -> Tenant:
        return self.ops.perform(CreateTenant(name=name, **fields))

    def database(self, tenant: str = "aki-labs", name: str = "kb", **fields: Any) -> Database:
        return self.ops.perform(CreateDatabase(tenant=tenant, name=name, **fields))

    def collection(
        self, tenant: str = "aki-labs", database: str = "kb", name: str = "notes", **fields: Any
    ) -> Collection:
        if not fields.keys() & {"dimension", "embedding_model"}:
            fields["dimension"] = DIMENSION
        return self.ops.perform(CreateCollection(tenant=tenant, database=database, name=name, **fields))

    def place(self, tenant: str = "Aki Labs", **fields: Any) -> CollectionPath:
        """A tenant with the database `kb` and in it the collection `notes`."""
        made = self.tenant(tenant)
        self.database(made.slug)
        self.collection(made.slug, **fields)
        return CollectionPath(made.slug, "kb", "notes")

    def audit(self, tenant: TenantId | str) -> list[AuditEntry]:
        return self.ops.perform(ListAuditEntries(tenant=tenant)).items

    def actions(self, tenant: TenantId | str) -> list[str]:
        return [entry.action for entry in self.audit(tenant)]

    def store_file(self, tenant: Tenant) -> Path:
        return self.directory / "tenants" / f"{tenant.tenant_id}.db"

    def execute(self, path: Path, *statements: str) -> None:
        """Change a store behind the program's back."""
        file = SqliteFile(path)
        with file.write() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        file.close()


def service_of(operations: LocalOperations, request: type[Request[Any]]) -> Any:
    """The service that carries such a request out, for tests that look inside."""
    return operations._runtime.dispatcher._handlers[request].call.__self__  # type: ignore[attr-defined]


on_files = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
"""Marks a test about the files of a data directory."""


@contextmanager
def opened(place: Path | str, **settings: Any) -> Iterator[World]:
    """A world that is closed in the end."""
    world = World(place, **settings)
    try:
        yield world
    finally:
        world.ops.close()


def notes(*ids: str, **fields: Any) -> list[dict[str, Any]]:
    """Documents with vectors that their ids decide."""
    return [{"id": id, "text": f"text of {id}", "vector": vector_of(id), **fields} for id in ids]


def vector_of(seed: str, dimension: int = DIMENSION) -> Floats:
    """A vector of norm 1 that its seed decides."""
    values = np.random.default_rng(list(seed.encode())).normal(size=dimension)
    return np.asarray(values / np.linalg.norm(values), np.float32)


GOOD = vector_of("good")
"""A vector that every collection of a world takes, unless it says otherwise."""


def ids_of(found: Sequence[Any]) -> list[str]:
    """The ids of documents or matches."""
    return [each.id for each in found]


keyed = context.request
"""Binds an idempotency key or a request ID to the calls inside."""
