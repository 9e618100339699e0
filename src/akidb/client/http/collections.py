"""Collections over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from akidb.client.http import checks
from akidb.client.http.caller import Caller
from akidb.client.http.checks import changed, checked, given
from akidb.client.http.paths import Count, collection_path, collections_path, database_path, page_query
from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import Collection, Metric
from akidb.domain.names import check_flag
from akidb.ports.operations import CollectionChanges, CollectionRef, DatabaseRef, TenantRef


class HttpCollections:
    """`akidb.ports.operations.CollectionOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        name: str,
        *,
        dimension: int | None = None,
        metric: Metric = Metric.COSINE,
        embedding_model: str | None = None,
        hnsw_m: int | None = None,
        hnsw_ef_construction: int | None = None,
        max_document_count: int | None = None,
    ) -> Collection:
        options = {
            "hnsw_m": hnsw_m,
            "hnsw_ef_construction": hnsw_ef_construction,
            "max_document_count": max_document_count,
        }
        vectors = {"dimension": dimension, "embedding_model": embedding_model}
        fields = {"name": name, **given(options), "metric": metric, **given(vectors)}
        path = collections_path(tenant, database)
        return self._caller.post(Collection, path, checked(fields, checks.COLLECTION))

    def get(self, tenant: TenantRef, database: DatabaseRef, collection: CollectionRef) -> Collection:
        return self._caller.get(Collection, collection_path(tenant, database, collection))

    def list(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        *,
        deleted: bool = False,
        limit: int = DEFAULT_PAGE_LIMIT,
        cursor: str | None = None,
    ) -> Page[Collection]:
        query = page_query(limit, cursor, deleted=deleted or None)
        return self._caller.get(Page[Collection], collections_path(tenant, database), query)

    def count(self, tenant: TenantRef, database: DatabaseRef, *, deleted: bool = False) -> int:
        query = {"deleted": check_flag(deleted, "deleted") or None}
        path = f"{database_path(tenant, database)}/collection-count"
        return self._caller.get(Count, path, query).count

    def update(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        changes: CollectionChanges,
        *,
        if_version: int | None = None,
    ) -> Collection:
        path = collection_path(tenant, database, collection)
        fields = checked(changed(changes), checks.COLLECTION)
        return self._caller.patch(Collection, path, fields, if_version=if_version)

    def delete(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> None:
        self._caller.delete(collection_path(tenant, database, collection), if_version=if_version)

    def restore(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> Collection:
        path = f"{collection_path(tenant, database, collection)}/restore"
        return self._caller.post(Collection, path, if_version=if_version)

    def purge(
        self,
        tenant: TenantRef,
        database: DatabaseRef,
        collection: CollectionRef,
        *,
        if_version: int | None = None,
    ) -> None:
        path = f"{collection_path(tenant, database, collection)}/purge"
        self._caller.command(path, if_version=if_version)
