"""Chroma's persistent client."""

from pathlib import Path
from typing import Any

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import EF_CONSTRUCTION, TOP_K, M, Search, Setting, efs

INCLUDE = ["documents", "metadatas", "distances"]


def client(folder: Path) -> Any:
    """Return the persistent client; it reports nothing about its use."""
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))
    return chromadb.PersistentClient(path=str(folder), settings=settings)


def shape() -> dict[str, Any]:
    """Return the configuration of a collection."""
    graph = {"space": "cosine", "ef_construction": EF_CONSTRUCTION, "max_neighbors": M}
    return {"configuration": {"hnsw": graph}, "embedding_function": None}


class Chroma:
    """A collection of the persistent client."""

    name = "chroma"
    package = "chromadb"
    stores = True
    note = f"HNSW M={M} ef_construction={EF_CONSTRUCTION}, float32; SQLite without a sync for each commit"
    bulk = 5000
    settings = efs(10, 16, 24, 32, 48, 64, 100, 128, 192, 256, 512)

    def create(self, folder: Path, dimension: int) -> None:
        self._folder, self._setting = folder, 0
        self._client = client(folder)
        self._collection = self._client.create_collection("documents", **shape())

    def open(self, folder: Path, dimension: int) -> None:
        self._folder, self._setting = folder, 0
        self._client = client(folder)
        self._collection = self._client.get_collection("documents", embedding_function=None)

    def add(self, documents: Documents) -> None:
        self._collection.add(**columns(documents))

    def ready(self) -> None:
        """Nothing to wait for: it brings its index up to date in a search."""

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        self._set(setting.value)
        collection = self._collection
        where = None
        if condition is not None:
            where = {condition.field: {"$eq" if condition.operator == "=" else "$lt": condition.value}}

        def one(question: Floats) -> Any:
            return collection.query(
                query_embeddings=[question], n_results=TOP_K, where=where, include=INCLUDE
            )

        return one

    def _set(self, ef_search: int) -> None:
        """Change the width of the search, which only a new client obeys."""
        if ef_search == self._setting:
            return
        from chromadb.api.shared_system_client import SharedSystemClient

        self._setting = ef_search
        self._collection.modify(configuration={"hnsw": {"ef_search": ef_search}})
        SharedSystemClient.clear_system_cache()
        self._client = client(self._folder)
        self._collection = self._client.get_collection("documents", embedding_function=None)

    def numbers(self, answer: Any) -> list[int]:
        return [int(number) for number in answer["ids"][0]]

    def delete(self, condition: Condition) -> None:
        self._collection.delete(where={condition.field: condition.value})

    def close(self) -> None:
        """The client has nothing to close."""


class Many:
    """Collections of one client."""

    def open(self, folder: Path, dimension: int) -> None:
        self._client = client(folder)

    def create(self, number: int, documents: Documents) -> None:
        self._client.create_collection(f"collection-{number}", **shape()).add(**columns(documents))

    def search(self, number: int, question: Floats) -> Any:
        collection = self._client.get_collection(f"collection-{number}", embedding_function=None)
        return collection.query(query_embeddings=[question], n_results=TOP_K, include=INCLUDE)

    def close(self) -> None:
        """The client has nothing to close."""


def columns(documents: Documents) -> dict[str, Any]:
    """Return the arguments of `add`."""
    last = documents.first + len(documents.texts)
    return {
        "ids": [str(number) for number in range(documents.first, last)],
        "embeddings": documents.vectors,
        "documents": list(documents.texts),
        "metadatas": list(documents.metadata),
    }
