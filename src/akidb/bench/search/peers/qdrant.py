"""Qdrant Edge: Qdrant's storage in this process."""

from pathlib import Path
from typing import Any

from akidb.bench.search.data import Condition, Documents, Floats
from akidb.bench.search.peers.base import EF_CONSTRUCTION, TOP_K, M, Search, Setting, efs

NUMBERS = ("half", "tenth", "hundredth", "thousandth", "number")


class QdrantEdge:
    """A shard with an HNSW graph, 8-bit codes rescored with the float32 vectors, and payload indexes."""

    name = "qdrant edge"
    package = "qdrant-edge-py"
    stores = True
    note = f"HNSW M={M} ef_construct={EF_CONSTRUCTION}, int8 in memory, rescored; log without a sync"
    bulk = 1000
    settings = efs(10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512)

    def create(self, folder: Path, dimension: int) -> None:
        self._shard = _create(folder / "shard", dimension)

    def open(self, folder: Path, dimension: int) -> None:
        import qdrant_edge as qdrant

        self._shard = qdrant.EdgeShard.load(str(folder / "shard"))

    def add(self, documents: Documents) -> None:
        import qdrant_edge as qdrant

        self._shard.update(qdrant.UpdateOperation.upsert_points(_points(documents)))

    def ready(self) -> None:
        self._shard.optimize()
        self._shard.flush()

    def search(self, setting: Setting, condition: Condition | None = None) -> Search:
        import qdrant_edge as qdrant

        shard = self._shard
        where = None if condition is None else qdrant.Filter(must=[_field(condition)])
        parameters = qdrant.SearchParams(
            hnsw_ef=setting.value,
            quantization=qdrant.QuantizationSearchParams(rescore=True, oversampling=2.0),
        )

        def one(question: Floats) -> Any:
            request = qdrant.SearchRequest(
                query=qdrant.Query.Nearest(question.tolist()),
                limit=TOP_K,
                filter=where,
                params=parameters,
                with_payload=True,
            )
            return [(point.id, point.score, point.payload) for point in shard.search(request)]

        return one

    def numbers(self, answer: Any) -> list[int]:
        return [number for number, _, _ in answer]

    def delete(self, condition: Condition) -> None:
        import qdrant_edge as qdrant

        chosen = qdrant.Filter(must=[_field(condition)])
        self._shard.update(qdrant.UpdateOperation.delete_points_by_filter(chosen))

    def close(self) -> None:
        self._shard.close()


class Many:
    """One shard, a folder, for each; those opened for a search are kept open."""

    def open(self, folder: Path, dimension: int) -> None:
        self._folder, self._dimension = folder, dimension
        self._opened: dict[int, Any] = {}

    def create(self, number: int, documents: Documents) -> None:
        import qdrant_edge as qdrant

        shard = _create(self._folder / f"c{number}", self._dimension, indexed=False)
        shard.update(qdrant.UpdateOperation.upsert_points(_points(documents)))
        shard.flush()
        shard.close()

    def search(self, number: int, question: Floats) -> Any:
        import qdrant_edge as qdrant

        if number not in self._opened:
            self._opened[number] = qdrant.EdgeShard.load(str(self._folder / f"c{number}"))
        request = qdrant.SearchRequest(
            query=qdrant.Query.Nearest(question.tolist()), limit=TOP_K, with_payload=True
        )
        return [(point.id, point.score, point.payload) for point in self._opened[number].search(request)]

    def close(self) -> None:
        for shard in self._opened.values():
            shard.close()


def _create(folder: Path, dimension: int, *, indexed: bool = True) -> Any:
    import qdrant_edge as qdrant

    folder.mkdir(parents=True)
    codes = qdrant.ScalarQuantizationConfig(type=qdrant.ScalarType.Int8, always_ram=True)
    configuration = qdrant.EdgeConfig(
        vectors=qdrant.EdgeVectorParams(size=dimension, distance=qdrant.Distance.Cosine),
        hnsw_config=qdrant.HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCTION, full_scan_threshold=10_000),
        quantization_config=codes,
        optimizers=qdrant.EdgeOptimizersConfig(default_segment_number=1),
    )
    shard = qdrant.EdgeShard.create(str(folder), configuration)
    if indexed:
        kinds = dict.fromkeys(NUMBERS, qdrant.PayloadSchemaType.Integer)
        for field, kind in {**kinds, "category": qdrant.PayloadSchemaType.Keyword}.items():
            shard.update(qdrant.UpdateOperation.create_field_index(field, kind))
    return shard


def _field(condition: Condition) -> Any:
    import qdrant_edge as qdrant

    if condition.operator == "<":
        return qdrant.FieldCondition(key=condition.field, range=qdrant.RangeFloat(lt=float(condition.value)))
    return qdrant.FieldCondition(key=condition.field, match=qdrant.MatchValue(condition.value))


def _points(documents: Documents) -> list[Any]:
    import qdrant_edge as qdrant

    columns = zip(documents.vectors, documents.texts, documents.metadata, strict=True)
    return [
        qdrant.Point(number, vector.tolist(), {"text": text, **metadata})
        for number, (vector, text, metadata) in enumerate(columns, documents.first)
    ]
