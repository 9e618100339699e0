"""A common interface to tenants, databases and collections, for behavior shared by their repositories."""

from typing import Any, Protocol

from samples import Library

from akidb.domain.documents import Page
from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.ids import EntityId
from akidb.ports.metadata import MetadataTransaction

Entity = Tenant | Database | Collection


class Place(Protocol):
    """Where entities of one kind are kept; the name of a tenant here is its slug."""

    entity: str
    name_field: str
    deleted_state: str

    def new(self, name: str, **fields: Any) -> Any: ...
    def repository(self, tx: MetadataTransaction) -> Any: ...
    def find(self, tx: MetadataTransaction, ref: EntityId | str, *, deleted: bool = False) -> Any: ...
    def get(self, tx: MetadataTransaction, ref: EntityId | str, *, deleted: bool = False) -> Any: ...
    def page(self, tx: MetadataTransaction, **how: Any) -> Page[Any]: ...
    def purge(self, tx: MetadataTransaction, entity_id: Any) -> None: ...


class InCatalog:
    """Tenants."""

    entity, name_field, deleted_state = "tenant", "slug", "decommissioned"

    def __init__(self, library: Library) -> None:
        self.library = library

    def new(self, name: str, **fields: Any) -> Tenant:
        return self.library.new_tenant(name, **fields)

    def repository(self, tx: MetadataTransaction) -> Any:
        return tx.tenants

    def find(self, tx: MetadataTransaction, ref: Any, *, deleted: bool = False) -> Tenant | None:
        return tx.tenants.find(ref, deleted=deleted)

    def get(self, tx: MetadataTransaction, ref: Any, *, deleted: bool = False) -> Tenant:
        return tx.tenants.get(ref, deleted=deleted)

    def page(self, tx: MetadataTransaction, **how: Any) -> Page[Tenant]:
        filters = {"status": None, "external_id": None, "deleted": False, "limit": 100, "cursor": None}
        return tx.tenants.list(**{**filters, **how})

    def purge(self, tx: MetadataTransaction, entity_id: Any) -> None:
        tx.tenants.purge(entity_id, self.library.clock.now)


class InTenant:
    """Databases of one tenant."""

    entity, name_field, deleted_state = "database", "name", "deleting"

    def __init__(self, library: Library) -> None:
        self.library = library
        self.tenant = library.tenant("owner")

    def new(self, name: str, **fields: Any) -> Database:
        return self.library.new_database(self.tenant, name, **fields)

    def repository(self, tx: MetadataTransaction) -> Any:
        return tx.databases

    def find(self, tx: MetadataTransaction, ref: Any, *, deleted: bool = False) -> Database | None:
        return tx.databases.find(self.tenant.tenant_id, ref, deleted=deleted)

    def get(self, tx: MetadataTransaction, ref: Any, *, deleted: bool = False) -> Database:
        return tx.databases.get(self.tenant.tenant_id, ref, deleted=deleted)

    def page(self, tx: MetadataTransaction, **how: Any) -> Page[Database]:
        return tx.databases.list(
            self.tenant.tenant_id, **{"deleted": False, "limit": 100, "cursor": None, **how}
        )

    def purge(self, tx: MetadataTransaction, entity_id: Any) -> None:
        tx.databases.purge(self.tenant.tenant_id, entity_id, self.library.clock.now)


class InDatabase:
    """Collections of one database."""

    entity, name_field, deleted_state = "collection", "name", "deleting"

    def __init__(self, library: Library) -> None:
        self.library = library
        self.tenant = library.tenant("owner")
        self.database = library.database(self.tenant)

    def new(self, name: str, **fields: Any) -> Collection:
        return self.library.new_collection(self.database, name, **fields)

    def repository(self, tx: MetadataTransaction) -> Any:
        return tx.collections

    def find(self, tx: MetadataTransaction, ref: Any, *, deleted: bool = False) -> Collection | None:
        return tx.collections.find(self.tenant.tenant_id, self.database.database_id, ref, deleted=deleted)

    def get(self, tx: MetadataTransaction, ref: Any, *, deleted: bool = False) -> Collection:
        return tx.collections.get(self.tenant.tenant_id, self.database.database_id, ref, deleted=deleted)

    def page(self, tx: MetadataTransaction, **how: Any) -> Page[Collection]:
        how = {"deleted": False, "limit": 100, "cursor": None, **how}
        return tx.collections.list(self.tenant.tenant_id, self.database.database_id, **how)

    def purge(self, tx: MetadataTransaction, entity_id: Any) -> None:
        tx.collections.purge(self.tenant.tenant_id, entity_id, self.library.clock.now)


PLACES: dict[str, type[InCatalog | InTenant | InDatabase]] = {
    "tenants": InCatalog,
    "databases": InTenant,
    "collections": InDatabase,
}


def id_of(entity: Entity) -> Any:
    """Its own ID, the first of its fields."""
    return getattr(entity, entity.__struct_fields__[0])


def state_of(entity: Entity) -> str:
    """Its status or state."""
    return entity.status if isinstance(entity, Tenant) else entity.state
