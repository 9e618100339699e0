"""zvec, an embedded engine by Alibaba."""

from pathlib import Path
from typing import Any

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import EF_CONSTRUCTION, TOP_K, M, Search, Setting, efs

NUMBERS = ("half", "tenth", "hundredth", "thousandth", "number")


class Zvec:
    """A collection with an HNSW graph over 8-bit codes, rescored with the float32 vectors."""

    name = "zvec"
    package = "zvec"
    stores = True
    note = f"HNSW M={M} ef_construction={EF_CONSTRUCTION}, int8 with refiner; log without a sync"
    bulk = 1000
    settings = efs(10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)

    def create(self, folder: Path, dimension: int) -> None:
        self._collection = _create(folder / "collection", dimension)

    def open(self, folder: Path, dimension: int) -> None:
        import zvec

        self._collection = zvec.open(str(folder / "collection"))

    def add(self, documents: Documents) -> None:
        self._collection.insert(_docs(documents))

    def ready(self) -> None:
        self._collection.flush()
        self._collection.optimize()

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        import zvec

        collection = self._collection
        where = None
        if condition is not None:
            value = f"'{condition.value}'" if isinstance(condition.value, str) else condition.value
            where = f"{condition.field} {condition.operator} {value}"
        parameters = zvec.HnswQueryParam(ef=setting.value, is_using_refiner=True)

        def one(question: Floats) -> Any:
            query = zvec.Query(field_name="vector", vector=question, param=parameters)
            return collection.query(query, topk=TOP_K, filter=where)

        return one

    def numbers(self, answer: Any) -> list[int]:
        return [int(document.id) for document in answer]

    def delete(self, condition: Condition) -> None:
        self._collection.delete_by_filter(f"{condition.field} = '{condition.value}'")

    def close(self) -> None:
        self._collection.close()


class Many:
    """One collection, a folder, for each; those opened for a search are kept open."""

    def open(self, folder: Path, dimension: int) -> None:
        self._folder, self._dimension = folder, dimension
        self._opened: dict[int, Any] = {}

    def create(self, number: int, documents: Documents) -> None:
        collection = _create(self._folder / f"c{number}", self._dimension)
        collection.insert(_docs(documents))
        collection.flush()
        collection.close()

    def search(self, number: int, question: Floats) -> Any:
        import zvec

        if number not in self._opened:
            self._opened[number] = zvec.open(str(self._folder / f"c{number}"))
        query = zvec.Query(field_name="vector", vector=question)
        return self._opened[number].query(query, topk=TOP_K)

    def close(self) -> None:
        for collection in self._opened.values():
            collection.close()


def _create(folder: Path, dimension: int) -> Any:
    import zvec

    graph = zvec.HnswIndexParam(
        metric_type=zvec.MetricType.COSINE,
        m=M,
        ef_construction=EF_CONSTRUCTION,
        quantize_type=zvec.QuantizeType.INT8,
    )
    value = zvec.InvertIndexParam(enable_range_optimization=True)
    word, number = zvec.DataType.STRING, zvec.DataType.INT64
    schema = zvec.CollectionSchema(
        name="documents",
        fields=[
            zvec.FieldSchema("text", word),
            zvec.FieldSchema("words", word),
            zvec.FieldSchema("category", word, index_param=value),
            *[zvec.FieldSchema(field, number, index_param=value) for field in NUMBERS],
        ],
        vectors=zvec.VectorSchema("vector", zvec.DataType.VECTOR_FP32, dimension, index_param=graph),
    )
    return zvec.create_and_open(path=str(folder), schema=schema)


def _docs(documents: Documents) -> list[Any]:
    import zvec

    columns = zip(documents.vectors, documents.texts, documents.metadata, strict=True)
    return [
        zvec.Doc(id=str(number), vectors={"vector": vector}, fields={"text": text, **metadata})
        for number, (vector, text, metadata) in enumerate(columns, documents.first)
    ]
