"""Documents given as columns, and uploads in batches, in process and over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import akidb
from akidb.domain.errors import AlreadyExists, InvalidArgument
from api.running import threaded

DIMENSION = 16
VECTORS = np.random.default_rng(5).standard_normal((5, DIMENSION)).astype(np.float32)
IDS = [f"p{n}" for n in range(5)]


@pytest.fixture(params=["in process", "over HTTP"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[akidb.Client]:
    if request.param == "in process":
        with akidb.connect(tmp_path / "data", default_model="hash") as local:
            yield local
    else:
        with threaded(tmp_path / "data") as server, akidb.connect(server.url) as remote:
            yield remote


@pytest.fixture
def points(client: akidb.Client) -> akidb.CollectionHandle:
    database = client.tenants.create("Aki").databases.create("kb")
    return database.collections.create("points", dimension=DIMENSION)


@pytest.fixture
def notes(client: akidb.Client) -> akidb.CollectionHandle:
    database = client.tenants.create("Aki").databases.create("kb")
    return database.collections.create("notes", embedding_model="hash")


def stored(points: akidb.CollectionHandle, ids: list[str]) -> Any:
    found = points.get_many(ids, include=["vector"])
    return np.array([document.vector for document in found], dtype=np.float32)


def test_columns_are_the_documents(points: akidb.CollectionHandle) -> None:
    metadatas = [{"n": 0}, None, {"tags": ["é", 2.5, None]}, {"a": {"b": [True]}}, {}]
    texts = ["one", None, "drei é", "", "5"]
    result = points.upsert(ids=IDS, vectors=VECTORS, texts=texts, metadatas=metadatas)
    assert result.ids == IDS
    found = points.get_many(IDS, include=["text", "metadata"])
    assert [document.text for document in found] == texts
    assert [document.metadata for document in found] == [value or {} for value in metadatas]
    assert np.array_equal(stored(points, IDS), VECTORS)


@pytest.mark.parametrize(
    "vectors",
    [
        VECTORS.astype(np.float64),
        np.asfortranarray(VECTORS),
        VECTORS.tolist(),
        list(VECTORS),
        "iterator",
        np.array([*list(VECTORS), None], dtype=object)[:5],
    ],
    ids=["float64", "fortran", "lists", "arrays", "iterator", "objects"],
)
def test_vectors_may_have_any_form(points: akidb.CollectionHandle, vectors: Any) -> None:
    points.upsert(ids=np.array(IDS), vectors=iter(VECTORS) if isinstance(vectors, str) else vectors)
    assert np.array_equal(stored(points, IDS), VECTORS)


def test_ids_are_generated_and_texts_are_embedded(notes: akidb.CollectionHandle) -> None:
    made = notes.upsert(texts=iter(["red apples", "blue whales"])).ids
    assert [match.id for match in notes.search("blue whales", top_k=1)] == [made[1]]
    mixed = notes.upsert(ids=["a", None], texts=["green frogs", None], vectors=[None, [1.0] * 64])
    assert mixed.ids[0] == "a"
    assert notes.get("a").text == "green frogs"
    assert notes.count() == 4


def test_documents_without_vector_are_counted(points: akidb.CollectionHandle) -> None:
    assert points.upsert(ids=IDS, texts=["x"] * 5).without_vector == 5
    mixed = points.upsert(ids=IDS, vectors=[*VECTORS[:3], None, None], metadatas=[{"n": n} for n in range(5)])
    assert mixed.without_vector == 2
    uploaded = points.upsert_many(metadatas=({"n": n} for n in range(7)), batch_size=3)
    assert (uploaded.upserted, uploaded.without_vector) == (7, 7)
    assert sorted(match.id for match in points.search(VECTORS[0])) == IDS[:3]


def test_mode_applies_to_columns(points: akidb.CollectionHandle) -> None:
    points.upsert(ids=IDS[:2], vectors=VECTORS[:2], metadatas=[{"n": 0}, {"n": 1}])
    with pytest.raises(AlreadyExists) as caught:
        points.upsert(ids=IDS, vectors=VECTORS, mode="insert")
    assert caught.value.fields["ids"] == IDS[:2]
    assert points.upsert(ids=IDS, vectors=VECTORS, mode="skip").ids == IDS[2:]
    assert points.upsert(ids=["p1", "new"], texts=["t", "u"], mode="update").ids == ["p1"]
    assert points.get("p1", include=["text", "metadata"]).metadata == {"n": 1}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"ids": ["a", "b", "c", "d", 7]}, "ids[4]"),
        ({"ids": ["a", "b", "c", "d", "a"]}, "ids[4]"),
        ({"ids": "abcde"}, "ids"),
        ({"ids": IDS[:4]}, "vectors"),
        ({"texts": ["x"] * 4 + ["\0"]}, "texts[4]"),
        ({"texts": ["x"] * 4 + ["\ud800"]}, "texts[4]"),
        ({"texts": ["x"] * 6}, "texts"),
        ({"texts": {"a": 1}}, "texts"),
        ({"metadatas": [{}] * 4 + [{"a": [{"b": float("nan")}]}]}, "metadatas[4].a[0].b"),
        ({"metadatas": [{}] * 4 + [{"a": 2**63}]}, "metadatas[4].a"),
        ({"metadatas": [{}] * 4 + [[]]}, "metadatas[4]"),
        ({"metadatas": 7}, "metadatas"),
        ({"vectors": VECTORS[:, 1:]}, "vectors[0]"),
        ({"vectors": VECTORS[0]}, "vectors"),
        ({"vectors": np.ones((5, DIMENSION, 1))}, "vectors"),
        ({"vectors": np.ones((5, DIMENSION), bool)}, "vectors[0]"),
        ({"vectors": [*VECTORS[:4], [*[1.0] * 15, "1"]]}, "vectors[4][15]"),
        ({"vectors": np.full_like(VECTORS, 3e38)}, "vectors[0]"),
        ({"vectors": np.where(np.arange(5)[:, None] == 3, 0, VECTORS)}, "vectors[3]"),
        ({"vectors": np.where(np.arange(5)[:, None] == 3, np.nan, VECTORS)}, "vectors[3]"),
        ({"vectors": [*VECTORS[:4], None]}, "vectors[4]"),
        ({"documents": []}, "documents"),
        ({"ids": [], "vectors": []}, "ids"),
    ],
)
def test_faulty_column_is_named_and_nothing_is_written(
    points: akidb.CollectionHandle, wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        points.upsert(**{"ids": IDS, "vectors": VECTORS, **wrong})
    assert caught.value.field == field
    assert points.count() == 0


def test_either_documents_or_columns_are_needed(points: akidb.CollectionHandle) -> None:
    for call in (points.upsert, points.upsert_many):
        with pytest.raises(InvalidArgument, match="give either documents or columns: ids, vectors"):
            call()


def test_upload_reads_documents_as_they_are_needed(points: akidb.CollectionHandle) -> None:
    read, seen = 0, []

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal read
        for n in range(25):
            read += 1
            yield {"id": f"d{n}", "vector": VECTORS[n % 5]}

    def progress(done: akidb.UploadResult) -> None:
        seen.append((done.documents, done.batches, read, points.count()))

    done = points.upsert_many(documents(), batch_size=10, progress=progress)
    assert seen == [(10, 1, 10, 10), (20, 2, 20, 20), (25, 3, 25, 25)]
    assert (done.documents, done.batches, done.upserted, done.truncated) == (25, 3, 25, 0)


def test_upload_of_columns_of_any_kind(points: akidb.CollectionHandle) -> None:
    vectors = np.tile(VECTORS, (5, 1))
    done = points.upsert_many(
        ids=(f"d{n}" for n in range(25)), vectors=vectors, texts=["x"] * 25, batch_size=10
    )
    assert (done.documents, done.batches) == (25, 3)
    assert np.array_equal(stored(points, ["d24"]), vectors[24:])
    assert points.upsert_many(vectors=np.empty((0, DIMENSION))).batches == 0
    assert points.upsert_many([]).documents == 0
    again = points.upsert_many(ids=[f"d{n}" for n in range(26)], vectors=[*vectors, VECTORS[0]], mode="skip")
    assert (again.documents, again.upserted) == (26, 1)


def test_failed_upload_says_what_was_written(points: akidb.CollectionHandle) -> None:
    documents = [{"id": f"d{n}", "vector": VECTORS[n % 5], "metadata": {"n": n}} for n in range(25)]
    documents[23]["metadata"] = {"n": float("inf")}
    with pytest.raises(InvalidArgument) as caught:
        points.upsert_many(documents, batch_size=10)
    error = caught.value
    assert error.field == "documents[23].metadata.n"
    assert (error.fields["written"], error.fields["batch"]) == (20, 2)
    assert error.__notes__ == ["the first 20 documents, in 2 batches, had been written"]
    assert points.count() == 20
    with pytest.raises(InvalidArgument) as caught:
        points.upsert_many(ids=["a", "b", "c", ""], vectors=VECTORS[:4], batch_size=2)
    assert (caught.value.field, caught.value.fields["written"]) == ("ids[3]", 2)
    with pytest.raises(InvalidArgument) as caught:  # before anything is written
        points.upsert_many(ids=["x", "y", "z"], vectors=VECTORS, batch_size=2)
    assert (caught.value.field, caught.value.fields["written"]) == ("vectors", 0)

    def failing() -> Iterator[dict[str, Any]]:
        yield from documents[:15]
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended") as ended:
        points.upsert_many(failing(), batch_size=10)
    assert ended.value.__notes__ == ["the first 10 documents, in 1 batches, had been written"]


def test_repeated_upload_with_a_key_writes_only_what_is_missing(points: akidb.CollectionHandle) -> None:
    documents: list[Any] = [{"vector": VECTORS[n % 5]} for n in range(25)]
    for key in ("load", "k" * 255):
        with akidb.request(idempotency_key=key):
            with pytest.raises(InvalidArgument):
                points.upsert_many([*documents[:20], {"vector": "?"}], batch_size=10)
            points.upsert_many(documents, batch_size=10)
    assert points.count() == 50


@pytest.mark.parametrize("batch_size", [0, 10_001, 1.5])
def test_batch_size_is_checked(points: akidb.CollectionHandle, batch_size: Any) -> None:
    with pytest.raises(InvalidArgument, match="batch_size"):
        points.upsert_many([{"vector": VECTORS[0]}], batch_size=batch_size)


def test_long_batches_are_split(points: akidb.CollectionHandle) -> None:
    documents = [{"id": str(n), "vector": VECTORS[0], "text": "x" * 2**20} for n in range(24)]
    assert points.upsert_many(documents).batches == 2
    assert points.count() == 24


async def _uploaded(directory: Path) -> tuple[int, int]:
    async with akidb.aio.connect(directory) as client:
        database = await (await client.tenants.create("Aki")).databases.create("kb")
        points = await database.collections.create("points", dimension=DIMENSION)
        await points.upsert(ids=IDS, vectors=VECTORS)
        done = await points.upsert_many(({"vector": row} for row in VECTORS), batch_size=2)
        return done.batches, await points.count()


def test_asynchronous_twin_takes_columns(tmp_path: Path) -> None:
    import asyncio

    assert asyncio.run(_uploaded(tmp_path / "data")) == (3, 10)
