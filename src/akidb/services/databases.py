"""Databases: created, changed, deleted, restored, purged."""

from typing import Any

from msgspec import UNSET
from msgspec.structs import asdict

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Page
from akidb.domain.entities import Database
from akidb.domain.errors import InvalidArgument, InvalidState
from akidb.domain.ids import DatabaseId, IdGenerator, TenantId
from akidb.domain.lifecycle import Access, DatabaseState, move, require
from akidb.domain.names import check_flag, check_integer, check_name, check_text, check_word, parse_reference
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import DatabaseChanges, DatabaseRef, TenantRef
from akidb.services.admission import Admission, operation
from akidb.services.purging import Purging
from akidb.services.scope_cache import tenant_for
from akidb.services.transactions import Change, Transactions, check_version

MAX_DESCRIPTION_BYTES = 4096


class DatabaseService:
    """`akidb.ports.operations.DatabaseOperations` in process."""

    def __init__(
        self,
        admission: Admission,
        metadata: MetadataStore,
        changes: Transactions,
        purging: Purging,
        ids: IdGenerator,
    ) -> None:
        self.admission = admission
        self._metadata = metadata
        self._changes = changes
        self._purging = purging
        self._ids = ids

    @operation
    def create(
        self,
        tenant: TenantRef,
        name: str,
        *,
        description: str = "",
        state: DatabaseState = DatabaseState.READY,
    ) -> Database:
        """Create a database."""
        values = _checked({"name": name, "description": description})
        state = check_word(DatabaseState, state, "state")
        if state not in {DatabaseState.READY, DatabaseState.PROVISIONING}:
            raise InvalidArgument("state", "must be ready or provisioning for a new database")

        def effect(change: Change) -> Database:
            parent = tenant_for(change.tx, tenant, Access.METADATA_WRITE)
            database = Database(
                database_id=self._ids.new(DatabaseId),
                tenant_id=parent.tenant_id,
                state=state,
                created_at=change.now,
                updated_at=change.now,
                **values,
            )
            change.tx.databases.create(database)
            change.audit("database.create", parent.tenant_id, database.database_id)
            return database

        arguments = {**values, "state": state}
        return self._changes.carry_out("databases.create", (tenant,), arguments, Database, effect)

    @operation
    def get(self, tenant: TenantRef, database: DatabaseRef) -> Database:
        """One database that is not deleted."""
        tenant, database = parse_reference(TenantId, tenant), parse_reference(DatabaseId, database)
        with self._metadata.read() as tx:
            return tx.databases.get(tenant_for(tx, tenant, Access.METADATA_READ).tenant_id, database)

    @operation
    def list(
        self,
        tenant: TenantRef,
        *,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Database]:
        """Databases by name."""
        check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)
        check_flag(deleted, "deleted")
        with self._metadata.read() as tx:
            tenant_id = tenant_for(tx, tenant, Access.METADATA_READ).tenant_id
            return tx.databases.list(tenant_id, deleted=deleted, limit=limit, cursor=cursor)

    @operation
    def count(self, tenant: TenantRef, *, deleted: bool = False) -> int:
        """How many databases there are."""
        check_flag(deleted, "deleted")
        with self._metadata.read() as tx:
            tenant_id = tenant_for(tx, tenant, Access.METADATA_READ).tenant_id
            return tx.databases.count(tenant_id, deleted=deleted)

    @operation
    def update(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        changes: DatabaseChanges,
        *,
        if_version: int | None = None,
    ) -> Database:
        """Change fields of a database, or move it to another state."""
        values = _checked({name: value for name, value in asdict(changes).items() if value is not UNSET})
        if values.get("state") == DatabaseState.DELETING:
            raise InvalidArgument("state", "is reached by deleting the database")

        def effect(change: Change) -> Database:
            found = self._read(change, tenant, database, if_version)
            moved = "state" in values and move(found.state, values["state"])
            if all(getattr(found, name) == value for name, value in values.items()):
                return found
            if not moved:
                # A migrating database takes no change but the end of the migration.
                require(Access.METADATA_WRITE, found.state)
            changed = found.changed(change.now, **values)
            change.tx.databases.update(changed)
            change.audit("database.update", found.tenant_id, found.database_id)
            if moved:
                change.add_to_outbox(found.tenant_id, "database", found.database_id)
            return changed

        path, arguments = (tenant, database), [values, if_version]
        return self._changes.carry_out("databases.update", path, arguments, Database, effect)

    @operation
    def delete(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Delete a database and its collections, until `restore` or `purge`."""

        def effect(change: Change) -> None:
            found = self._read(change, tenant, database, if_version)
            move(found.state, DatabaseState.DELETING)
            change.tx.databases.delete(found, change.now)
            change.audit("database.delete", found.tenant_id, found.database_id)
            change.add_to_outbox(found.tenant_id, "database", found.database_id)

        self._changes.carry_out("databases.delete", (tenant, database), if_version, type(None), effect)

    @operation
    def restore(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> Database:
        """Bring a deleted database back."""

        def effect(change: Change) -> Database:
            found = self._read(change, tenant, database, if_version, deleted=True)
            restored = change.tx.databases.restore(found, change.now)
            change.audit("database.restore", found.tenant_id, found.database_id)
            change.add_to_outbox(found.tenant_id, "database", found.database_id)
            return restored

        path = (tenant, database)
        return self._changes.carry_out("databases.restore", path, if_version, Database, effect)

    @operation
    def purge(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> None:
        """Remove a deleted database for good."""

        def effect(change: Change) -> None:
            tx = change.tx
            owner = tx.tenants.get(parse_reference(TenantId, tenant))
            live = tx.databases.find(owner.tenant_id, parse_reference(DatabaseId, database))
            if live is not None:
                raise InvalidState("database", live.state, "purge", ["deleting"])
            found = self._read(change, tenant, database, if_version, deleted=True)
            self._purging.database(change, found)

        self._changes.carry_out("databases.purge", (tenant, database), if_version, type(None), effect)
        self._purging.finish()

    @staticmethod
    def _read(
        change: Change,
        tenant: TenantRef,
        database: DatabaseRef,
        if_version: int | None,
        *,
        deleted: bool = False,
    ) -> Database:
        """The database, when its tenant lets its metadata be written."""
        owner = change.tx.tenants.get(parse_reference(TenantId, tenant))
        found = change.tx.databases.get(
            owner.tenant_id, parse_reference(DatabaseId, database), deleted=deleted
        )
        require(Access.METADATA_WRITE, owner.status)
        check_version(found, if_version)
        change.tenant_id = owner.tenant_id
        return found


def _checked(values: dict[str, Any]) -> dict[str, Any]:
    """Check the fields that a caller gave."""
    for name, value in values.items():
        if name == "name":
            check_name(value)
        elif name == "description":
            check_text(value, name, maximum_bytes=MAX_DESCRIPTION_BYTES)
        elif name == "state":
            values[name] = check_word(DatabaseState, value, name)
        else:
            check_integer(value, name, 1, 2**31 - 1)
    return values
