"""Databases: create, update, delete, restore, purge."""

from typing import Any

from akidb.domain.documents import Page
from akidb.domain.entities import Database
from akidb.domain.errors import Damaged, InvalidArgument, InvalidState
from akidb.domain.ids import DatabaseId, IdGenerator
from akidb.domain.json import canonical
from akidb.domain.lifecycle import Access, DatabaseState, move, require
from akidb.operations import databases as ask
from akidb.operations.declare import OPERATIONS, InDatabase
from akidb.ports.metadata import MetadataTransaction
from akidb.services.answer_limits import AnswerLimits
from akidb.services.dispatch import in_read, in_transaction
from akidb.services.purging import DAMAGED, Purging
from akidb.services.scope_cache import tenant_for
from akidb.services.transactions import Change, check_version


class DatabaseService:
    """Implements `akidb.operations.databases`."""

    def __init__(self, purging: Purging, ids: IdGenerator, limits: AnswerLimits) -> None:
        self._limits = limits
        self._purging = purging
        self._ids = ids

    def finish_purges(self) -> None:
        """Erase the remains of purged databases from the store files."""
        self._purging.finish()

    @in_transaction(ask.CreateDatabase)
    def create(self, change: Change, asked: ask.CreateDatabase) -> Database:
        parent = tenant_for(change.tx, asked.tenant, Access.METADATA_WRITE)
        database = Database(
            database_id=self._ids.new(DatabaseId),
            tenant_id=parent.tenant_id,
            name=asked.name,
            description=asked.description,
            state=asked.state,
            metadata={} if asked.metadata is None else dict(asked.metadata),
            created_at=change.now,
            updated_at=change.now,
        )
        change.tx.databases.create(database)
        _record(change, "create", database, store=False)
        return database

    @in_read(ask.GetDatabase)
    def get(self, tx: MetadataTransaction, asked: ask.GetDatabase) -> Database:
        owner = tenant_for(tx, asked.tenant, Access.METADATA_READ)
        return tx.databases.get(owner.tenant_id, asked.database)

    @in_read(ask.ListDatabases)
    def list(self, tx: MetadataTransaction, asked: ask.ListDatabases) -> Page[Database]:
        owner = tenant_for(tx, asked.tenant, Access.METADATA_READ)
        given = OPERATIONS[ask.ListDatabases].given(asked)
        return tx.databases.list(owner.tenant_id, **given, most_bytes=self._limits.max_bytes)

    @in_read(ask.CountDatabases)
    def count(self, tx: MetadataTransaction, asked: ask.CountDatabases) -> int:
        owner = tenant_for(tx, asked.tenant, Access.METADATA_READ)
        return tx.databases.count(owner.tenant_id, deleted=asked.deleted)

    @in_transaction(ask.UpdateDatabase)
    def update(self, change: Change, asked: ask.UpdateDatabase) -> Database:
        values = OPERATIONS[ask.UpdateDatabase].given(asked)
        if values.get("state") == DatabaseState.DELETING:
            raise InvalidArgument("state", "must not be set to deleting: delete the database instead")
        found = _read(change, asked, asked.if_version)
        moved = "state" in values and move(found.state, values["state"])
        # Compare as JSON: in Python 1 == True.
        if canonical({name: getattr(found, name) for name in values}) == canonical(values):
            return found
        if not moved:
            # A migrating database accepts no update except the end of the migration.
            require(Access.METADATA_WRITE, found.state)
        changed = found.changed(change.now, **values)
        change.tx.databases.update(changed)
        _record(change, "update", found, store=moved)
        return changed

    @in_transaction(ask.DeleteDatabase)
    def delete(self, change: Change, asked: ask.DeleteDatabase) -> None:
        found = _read(change, asked, asked.if_version)
        move(found.state, DatabaseState.DELETING)
        change.tx.databases.delete(found, change.now)
        _record(change, "delete", found)

    @in_transaction(ask.RestoreDatabase)
    def restore(self, change: Change, asked: ask.RestoreDatabase) -> Database:
        found = _read(change, asked, asked.if_version, deleted=True)
        restored = change.tx.databases.restore(found, change.now)
        _record(change, "restore", found)
        return restored

    @in_transaction(ask.PurgeDatabase, after="finish_purges")
    def purge(self, change: Change, asked: ask.PurgeDatabase) -> None:
        owner = change.tx.tenants.get(asked.tenant)
        try:
            live = change.tx.databases.find(owner.tenant_id, asked.database)
            if live is not None:
                raise InvalidState("database", live.state, "purge", ["deleting"])
            found = _read(change, asked, asked.if_version, deleted=True)
        except Damaged:  # its state is not known, so its ID must be said
            if not isinstance(asked.database, DatabaseId) or asked.if_version is not None:
                raise
            require(Access.METADATA_WRITE, owner.status)
            self._purging.database_by_id(change, owner.tenant_id, asked.database, reason=DAMAGED)
            return
        self._purging.database(change, found)


def _read(
    change: Change, asked: InDatabase[Any], if_version: int | None, *, deleted: bool = False
) -> Database:
    """Return the database to change, if the tenant's status permits changes."""
    owner = change.tx.tenants.get(asked.tenant)
    found = change.tx.databases.get(owner.tenant_id, asked.database, deleted=deleted)
    require(Access.METADATA_WRITE, owner.status)
    check_version(found, if_version)
    change.tenant_id = owner.tenant_id
    return found


def _record(change: Change, verb: str, database: Database, *, store: bool = True) -> None:
    change.audit(f"database.{verb}", database.tenant_id, database.database_id)
    if store:
        change.add_to_outbox(database.tenant_id, "database", database.database_id)
