"""Databases over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from akidb.client.http import checks
from akidb.client.http.caller import Caller
from akidb.client.http.checks import changed, checked
from akidb.client.http.paths import Count, database_path, databases_path, page_query, tenant_path
from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import Database
from akidb.domain.lifecycle import DatabaseState
from akidb.domain.names import check_flag
from akidb.ports.operations import DatabaseChanges, DatabaseRef, TenantRef


class HttpDatabases:
    """`akidb.ports.operations.DatabaseOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(
        self,
        tenant: TenantRef,
        name: str,
        *,
        description: str = "",
        state: DatabaseState = DatabaseState.READY,
    ) -> Database:
        fields = {"name": name, "description": description, "state": state}
        return self._caller.post(Database, databases_path(tenant), checked(fields, checks.DATABASE))

    def get(self, tenant: TenantRef, database: DatabaseRef) -> Database:
        return self._caller.get(Database, database_path(tenant, database))

    def list(
        self,
        tenant: TenantRef,
        *,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Database]:
        query = page_query(limit, cursor, deleted=deleted or None)
        return self._caller.get(Page[Database], databases_path(tenant), query)

    def count(self, tenant: TenantRef, *, deleted: bool = False) -> int:
        query = {"deleted": check_flag(deleted, "deleted") or None}
        return self._caller.get(Count, f"{tenant_path(tenant)}/database-count", query).count

    def update(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        changes: DatabaseChanges,
        *,
        if_version: int | None = None,
    ) -> Database:
        fields = checked(changed(changes), checks.DATABASE)
        return self._caller.patch(Database, database_path(tenant, database), fields, if_version=if_version)

    def delete(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> None:
        self._caller.delete(database_path(tenant, database), if_version=if_version)

    def restore(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> Database:
        path = f"{database_path(tenant, database)}/restore"
        return self._caller.post(Database, path, if_version=if_version)

    def purge(self, tenant: TenantRef, database: DatabaseRef, *, if_version: int | None = None) -> None:
        self._caller.command(f"{database_path(tenant, database)}/purge", if_version=if_version)
