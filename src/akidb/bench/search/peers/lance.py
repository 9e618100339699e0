"""LanceDB in a local folder."""

from pathlib import Path
from typing import Any

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import EF_CONSTRUCTION, TOP_K, M, Search, Setting, efs

FIELDS = ("half", "tenth", "hundredth", "thousandth", "number")
ANSWERED = ["id", "text", "category", "words", *FIELDS, "_distance"]


class Lance:
    """A table with an IVF index whose one partition is an HNSW graph over 8-bit codes."""

    name = "lancedb"
    package = "lancedb"
    stores = True
    note = f"IVF_HNSW_SQ, 1 partition, M={M} ef_construction={EF_CONSTRUCTION}, 20 rescored; no sync"
    bulk = 20_000
    settings = efs(20, 32, 48, 64, 96, 128, 192, 256, 512)

    def create(self, folder: Path, dimension: int) -> None:
        import lancedb

        self._database = lancedb.connect(str(folder))
        self._table = self._database.create_table("documents", schema=schema(dimension))

    def open(self, folder: Path, dimension: int) -> None:
        import lancedb

        self._database = lancedb.connect(str(folder))
        self._table = self._database.open_table("documents")

    def add(self, documents: Documents) -> None:
        self._table.add(table(documents))

    def ready(self) -> None:
        self._table.optimize()
        if self._table.count_rows() >= 256:
            self._table.create_index(
                metric="cosine",
                vector_column_name="vector",
                index_type="IVF_HNSW_SQ",
                num_partitions=1,
                m=M,
                ef_construction=EF_CONSTRUCTION,
            )
        for field in FIELDS:
            self._table.create_scalar_index(field)
        self._table.create_scalar_index("category", index_type="BITMAP")

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        source = self._table
        where = None
        if condition is not None:
            value = f"'{condition.value}'" if isinstance(condition.value, str) else condition.value
            where = f"{condition.field} {condition.operator} {value}"

        def one(question: Floats) -> Any:
            query = source.search(question).distance_type("cosine").limit(TOP_K).select(ANSWERED)
            query = query.ef(setting.value).refine_factor(2)
            if where is not None:
                query = query.where(where, prefilter=True)
            return query.to_list()

        return one

    def numbers(self, answer: Any) -> list[int]:
        return [row["id"] for row in answer]

    def delete(self, condition: Condition) -> None:
        self._table.delete(f"{condition.field} = '{condition.value}'")

    def close(self) -> None:
        """The connection has nothing to close."""


class Many:
    """Tables of one folder."""

    def open(self, folder: Path, dimension: int) -> None:
        import lancedb

        self._dimension = dimension
        self._database = lancedb.connect(str(folder))
        self._tables: dict[int, Any] = {}

    def create(self, number: int, documents: Documents) -> None:
        self._database.create_table(f"t{number}", data=table(documents))

    def search(self, number: int, question: Floats) -> Any:
        if number not in self._tables:
            self._tables[number] = self._database.open_table(f"t{number}")
        found = self._tables[number].search(question).distance_type("cosine").limit(TOP_K)
        return found.select(ANSWERED).to_list()

    def close(self) -> None:
        """The connection has nothing to close."""


def schema(dimension: int) -> Any:
    """Return the schema of a table."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("id", pa.int64()),
            pa.field("vector", pa.list_(pa.float32(), dimension)),
            pa.field("text", pa.string()),
            pa.field("category", pa.string()),
            pa.field("words", pa.string()),
            *[pa.field(field, pa.int64()) for field in FIELDS],
        ]
    )


def table(documents: Documents) -> Any:
    """Return documents as an Arrow table."""
    import pyarrow as pa

    dimension = documents.vectors.shape[1]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(documents.vectors.reshape(-1)), dimension)
    last = documents.first + len(documents.texts)
    columns = [pa.array(range(documents.first, last), pa.int64()), vectors, pa.array(documents.texts)]
    fields = ("category", "words", *FIELDS)
    columns += [pa.array([row[field] for row in documents.metadata]) for field in fields]
    return pa.Table.from_arrays(columns, schema=schema(dimension))
