"""Uses the generated client: from a tenant to a search, and back. `python calls.py URL`."""

import sys

from aki_db_client import Client
from aki_db_client.api.collection import collection_create
from aki_db_client.api.database import database_create
from aki_db_client.api.document import document_delete, document_scan, document_search, document_upsert
from aki_db_client.api.tenant import tenant_create, tenant_delete, tenant_get
from aki_db_client.models.collection import Collection
from aki_db_client.models.create_collection import CreateCollection
from aki_db_client.models.create_database import CreateDatabase
from aki_db_client.models.create_tenant import CreateTenant
from aki_db_client.models.delete_documents import DeleteDocuments
from aki_db_client.models.deleted import Deleted
from aki_db_client.models.document_input import DocumentInput
from aki_db_client.models.document_page import DocumentPage
from aki_db_client.models.problem import Problem
from aki_db_client.models.search_documents import SearchDocuments
from aki_db_client.models.search_documents_filter_type_0 import SearchDocumentsFilterType0
from aki_db_client.models.search_result import SearchResult
from aki_db_client.models.tenant import Tenant
from aki_db_client.models.upsert_documents import UpsertDocuments
from aki_db_client.models.upsert_result import UpsertResult

PLACE = ("python", "kb", "notes")


def main(url: str) -> None:
    with Client(base_url=url) as client:
        tenant = tenant_create.sync(client=client, body=CreateTenant(name="Python", slug="python"))
        assert isinstance(tenant, Tenant), tenant
        assert tenant.created_at.tzinfo is not None
        assert (tenant.tenant_id.version, tenant.deleted_at) == (7, None)
        database_create.sync(*PLACE[:1], client=client, body=CreateDatabase(name="kb"))
        collection = collection_create.sync(
            *PLACE[:2], client=client, body=CreateCollection(name="notes", embedding_model="hash")
        )
        assert isinstance(collection, Collection), collection
        documents = [
            DocumentInput(id="a", text="vectors live in SQL"),
            DocumentInput(id="b", text="a fox jumps"),
        ]
        written = document_upsert.sync(*PLACE, client=client, body=UpsertDocuments(documents=documents))
        assert isinstance(written, UpsertResult), written
        assert (written.upserted, written.ids, written.truncated) == (2, ["a", "b"], 0)
        assert written.without_vector == 0
        only = SearchDocumentsFilterType0.from_dict({"$id": {"$in": ["a", "b"]}})
        query = SearchDocuments(text="where do vectors live", top_k=1, filter_=only)
        found = document_search.sync(*PLACE, client=client, body=query)
        assert isinstance(found, SearchResult), found
        assert [match.id for match in found.matches] == ["a"]
        page = document_scan.sync(*PLACE, client=client, limit=1, include=["text", "metadata"])
        assert isinstance(page, DocumentPage), page
        assert ([item.text for item in page.items], bool(page.next_cursor)) == (["vectors live in SQL"], True)
        deleted = document_delete.sync(*PLACE, client=client, body=DeleteDocuments(ids=["a"]))
        assert isinstance(deleted, Deleted), deleted
        assert deleted.deleted == 1
        problem = tenant_get.sync("nobody", client=client)
        assert isinstance(problem, Problem), problem
        assert (problem.code.value, problem.entity) == ("not_found", "tenant")
        assert tenant_delete.sync_detailed("python", client=client).status_code == 204
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
