"""AkiDB itself, through its Python interface."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import akidb
from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import TOP_K, Search, Setting

OPTIONS: Mapping[str, dict[str, Any]] = {
    **{
        f"ef {number}": {"ef_search": number}
        for number in (14, 16, 20, 24, 32, 40, 48, 64, 96, 128, 192, 256)
    },
    "ef 512": {"ef_search": 512},
    "all": {"recall": 1},
}
"""The options of a search, from fast to accurate."""
_LOOK_SECONDS = 0.02


class AkiDB:
    """A collection in a directory with durable commits (WAL, `synchronous=FULL`)."""

    name = "akidb"
    package = "akidb"
    stores = True
    note = "default settings; every commit is synced to disk"
    bulk = 1000
    settings = tuple(Setting(name, place) for place, name in enumerate(OPTIONS))

    def create(self, folder: Path, dimension: int) -> None:
        self._client = akidb.connect(folder)
        tenant = self._client.tenants.create("bench", qps_quota=None)
        database = tenant.databases.create("bench")
        self._collection = database.collections.create("documents", dimension=dimension)

    def open(self, folder: Path, dimension: int) -> None:
        self._client = akidb.connect(folder)
        self._collection = (
            self._client.tenants.get("bench").databases.get("bench").collections.get("documents")
        )

    def add(self, documents: Documents) -> None:
        self._collection.upsert(_rows(documents))

    def ready(self) -> None:
        """Wait until segments are built. A search before that finds the same, but compares all vectors."""
        self._collection.search([1.0] * (self._collection.dimension or 1), top_k=1)
        while self._collection.index().building:
            time.sleep(_LOOK_SECONDS)

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        options = dict(OPTIONS[setting.name])
        if condition is not None:
            operator = "$eq" if condition.operator == "=" else "$lt"
            options["filter"] = {condition.field: {operator: condition.value}}
        collection = self._collection

        def one(question: Floats) -> Any:
            return collection.search(question, top_k=TOP_K, **options)

        return one

    def numbers(self, answer: Any) -> list[int]:
        return [int(match.id) for match in answer]

    def delete(self, condition: Condition) -> None:
        self._collection.delete(filter={condition.field: condition.value})

    def close(self) -> None:
        self._client.close()


class Many:
    """Collections of one database."""

    def open(self, folder: Path, dimension: int) -> None:
        self._dimension = dimension
        self._client = akidb.connect(folder)
        tenant = self._client.tenants.get_or_create("bench", qps_quota=None)
        self._collections = tenant.databases.get_or_create("bench").collections

    def create(self, number: int, documents: Documents) -> None:
        self._collections.create(f"c{number}", dimension=self._dimension).upsert(_rows(documents))

    def search(self, number: int, question: Floats) -> Any:
        return self._collections.get(f"c{number}").search(question, top_k=TOP_K)

    def close(self) -> None:
        self._client.close()


class ManyTenants:
    """Tenants with a store of their own, each with one collection."""

    def open(self, folder: Path, dimension: int) -> None:
        self._dimension = dimension
        self._client = akidb.connect(folder)

    def create(self, number: int, documents: Documents) -> None:
        tenant = self._client.tenants.create(f"tenant-{number}", qps_quota=None)
        collections = tenant.databases.create("bench").collections
        collections.create("documents", dimension=self._dimension).upsert(_rows(documents))

    def search(self, number: int, question: Floats) -> Any:
        database = self._client.tenants.get(f"tenant-{number}").databases.get("bench")
        return database.collections.get("documents").search(question, top_k=TOP_K)

    def close(self) -> None:
        self._client.close()


def _rows(documents: Documents) -> list[dict[str, Any]]:
    columns = zip(documents.vectors, documents.texts, documents.metadata, strict=True)
    return [
        {"id": str(number), "text": text, "vector": vector, "metadata": metadata}
        for number, (vector, text, metadata) in enumerate(columns, documents.first)
    ]
