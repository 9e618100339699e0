"""Upserts whose body is an Arrow stream: results and errors as with JSON, and a client that sends them."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

import akidb
from akidb.api.limits import Limits
from akidb.domain.errors import AlreadyExists, InvalidArgument, QuotaExceeded
from akidb.ports import arrow

from .running import Threaded, client, threaded

DIMENSION = 64
VECTORS = np.random.default_rng(9).standard_normal((40, DIMENSION)).astype(np.float32)
IDS = [f"p{n}" for n in range(40)]
PLACE = "/v1/tenants/aki/databases/kb/collections/points/documents"
ARROW = {"Content-Type": arrow.MEDIA_TYPE}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data", Limits(body_bytes=2**18), default_model="hash") as served:
        yield served


@pytest.fixture
def db(running: Threaded) -> Iterator[akidb.Client]:
    with akidb.connect(running.url) as connected:
        yield connected


@pytest.fixture
def points(db: akidb.Client) -> akidb.CollectionHandle:
    database = db.tenants.create("Aki", storage_quota_bytes=100_000).databases.create("kb")
    return database.collections.create("points", dimension=DIMENSION)


@pytest.fixture
def http(running: Threaded, points: akidb.CollectionHandle) -> Iterator[httpx.Client]:
    with client(running.url) as connected:
        yield connected


def stream(columns: dict[str, Any], **options: Any) -> bytes:
    table = pa.table(columns)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue()


def columns_of(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """The same documents as columns."""
    columns: dict[str, Any] = {}
    for name in ("id", "text", "vector"):
        if any(name in document for document in documents):
            columns[name] = [document.get(name) for document in documents]
    if "vector" in columns:
        columns["vector"] = pa.array(columns["vector"], pa.list_(pa.float64()))
    if any("metadata" in document for document in documents):
        columns["metadata"] = [
            json.dumps(document["metadata"]) if "metadata" in document else None for document in documents
        ]
    return columns


def test_documents_of_a_stream_are_stored(http: httpx.Client, points: akidb.CollectionHandle) -> None:
    table = {
        "id": ["a", None],
        "text": ["eins", "zwei é"],
        "metadata": ['{"n":1}', None],
        "vector": pa.array(VECTORS[:2].astype(np.float16).tolist(), pa.list_(pa.float16(), DIMENSION)),
    }
    answer = http.post(PLACE, content=stream(table), headers=ARROW)
    assert answer.status_code == 200, answer.text
    made = answer.json()["ids"]
    assert made[0] == "a"
    found = points.get_many(made, include=["text", "metadata", "vector"])
    assert [(each.text, each.metadata) for each in found] == [("eins", {"n": 1}), ("zwei é", {})]
    assert np.array_equal(np.array([each.vector for each in found]), VECTORS[:2].astype(np.float16))


FAULTS: dict[str, list[dict[str, Any]]] = {
    "dimension": [{"id": "a", "vector": [1.0] * DIMENSION}, {"id": "b", "vector": [1.0] * 3}],
    "zero": [{"id": "a", "vector": [0.0] * DIMENSION}],
    "large": [{"id": "a", "vector": [1e300] * DIMENSION}],
    "long norm": [{"id": "a", "vector": [1e30] * DIMENSION}],
    "nothing": [{"id": "a"}],
    "empty id": [{"id": "", "text": "x"}],
    "twice": [{"id": "a", "text": "x"}, {"id": "a", "text": "y"}],
    "U+0000": [{"id": "a", "text": "x\0"}],
    "long id": [{"id": "ä" * 300, "text": "x"}],
    "number in metadata": [{"id": "a", "text": "x", "metadata": {"n": [1, 2**70]}}],
    "metadata list": [{"id": "a", "text": "x", "metadata": [1]}],
    "deep": [{"id": "a", "metadata": json.loads('{"a":' * 70 + "1" + "}" * 70)}],
}


def test_faults_are_those_of_json(http: httpx.Client, points: akidb.CollectionHandle) -> None:
    for name, documents in FAULTS.items():
        as_json = http.post(PLACE, json={"documents": documents})
        as_arrow = http.post(PLACE, content=stream(columns_of(documents)), headers=ARROW)
        problems = [answer.json() for answer in (as_json, as_arrow)]
        for problem in problems:
            del problem["request_id"]
        assert as_json.status_code == 400, name
        assert problems[0] == problems[1], name
    assert points.count() == 0


def test_faults_of_the_body(http: httpx.Client, points: akidb.CollectionHandle) -> None:
    good = stream({"id": ["a"], "text": ["x"]})
    small = stream({"id": ["a"], "text": ["x" * 1000]}, compression="zstd")
    for body, headers, path, status, field in (
        (good[:-30], {}, PLACE, 400, "body"),
        (b"", {}, PLACE, 400, "body"),
        (small, {}, PLACE, 400, "body"),
        (good, {}, PLACE + "?mode=replace", 400, "mode"),
        (good, {}, PLACE + "?documents=1", 400, "documents"),
        (good, {"Content-Encoding": "gzip"}, PLACE, 415, None),
        (good, {}, PLACE.removesuffix("documents") + "search", 415, None),
        (good, {}, "/v1/tenants", 415, None),
        (stream({"text": ["x" * 2**18]}), {}, PLACE, 413, None),
    ):
        answer = http.post(path, content=body, headers={**ARROW, **headers})
        assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert http.post(PLACE + "?mode=insert", json={"documents": []}).json()["field"] == "mode"
    assert points.count() == 0


def test_mode_quota_and_key(http: httpx.Client, points: akidb.CollectionHandle) -> None:
    body = stream({"id": [None, "b"], "text": ["x", "y"]})
    key = {**ARROW, "Idempotency-Key": "k"}
    first = http.post(PLACE, content=body, headers=key).json()
    assert http.post(PLACE, content=body, headers=key).json() == first
    assert points.count() == 2
    other = http.post(PLACE, content=stream({"id": [None, "b"], "text": ["x", "z"]}), headers=key)
    assert other.json()["code"] == "idempotency_mismatch"
    other = http.post(PLACE + "?mode=skip", content=body, headers=key)
    assert other.json()["code"] == "idempotency_mismatch"
    refused = http.post(PLACE + "?mode=insert", content=body, headers=ARROW)
    assert (refused.json()["code"], refused.json()["ids"]) == ("already_exists", ["b"])
    full = http.post(PLACE, content=stream({"text": ["x" * 1_000] * 150}), headers=ARROW)
    assert full.json()["code"] == "quota_exceeded"
    assert points.count() == 2


def test_server_says_that_it_accepts_arrow(http: httpx.Client) -> None:
    accepted = http.options(PLACE).headers["Accept-Post"]
    assert accepted == f"application/json, {arrow.MEDIA_TYPE}"
    assert "Accept-Post" not in http.options(PLACE + "/get").headers
    described = http.get("/openapi.json").json()["paths"][
        "/v1/tenants/{tenant}/databases/{database}/collections/{collection}/documents"
    ]["post"]["requestBody"]["description"]
    assert arrow.MEDIA_TYPE in described
    assert "`mode` is then a parameter of the query" in described


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the Arrow bodies that the server has decoded."""
    sizes: list[int] = []
    decode = arrow.decode

    def counted(body: bytes) -> Any:
        sizes.append(len(body))
        return decode(body)

    monkeypatch.setattr(arrow, "decode", counted)
    return sizes


def rows(count: int = 40, **more: Any) -> list[dict[str, Any]]:
    return [{"id": id, "vector": vector, **more} for id, vector in zip(IDS, VECTORS[:count], strict=False)]


def test_client_sends_many_numbers_as_arrow(points: akidb.CollectionHandle, decoded: list[int]) -> None:
    forms: list[dict[str, Any]] = [
        {"documents": rows(text="é", metadata={"n": 1})},
        {"ids": IDS, "vectors": VECTORS},
        {"ids": IDS, "vectors": VECTORS.astype(np.float64)},
        {"ids": IDS, "vectors": VECTORS.tolist()},
        {"ids": IDS, "vectors": [VECTORS[0].tolist(), *VECTORS[1:]]},
        {"ids": IDS, "vectors": [*VECTORS[:39], None], "texts": IDS},
    ]
    for number, form in enumerate(forms, 1):
        points.clear()
        assert points.upsert(**form).ids == IDS
        assert len(decoded) == number
        found = points.get_many(IDS, include=["vector"])
        assert np.array_equal(np.array([each.vector for each in found[:39]]), VECTORS[:39])
    points.upsert(rows(1))  # too few
    points.upsert(texts=IDS)
    with akidb.request(idempotency_key="k"):
        points.upsert(rows())
    assert len(decoded) == len(forms)
    assert points.upsert(documents=rows(), mode="update").upserted == 40
    assert points.upsert(documents=rows(), mode="skip").ids == []
    with pytest.raises(AlreadyExists) as refused:
        points.upsert(documents=rows(), mode="insert")
    assert refused.value.fields["ids"] == IDS
    assert len(decoded) == len(forms) + 3


def test_client_raises_the_errors_of_json(points: akidb.CollectionHandle, decoded: list[int]) -> None:
    with pytest.raises(InvalidArgument, match=r"^documents\[7\].vector: must not contain NaN"):
        points.upsert([*rows(7), {"id": "x", "vector": VECTORS[0] * np.nan}, *rows(40)[8:]])
    with pytest.raises(InvalidArgument, match=r"^vectors\[3\]: must contain numbers, not"):
        points.upsert(vectors=[*VECTORS[:3], np.array(["2"]), *VECTORS])
    with pytest.raises(InvalidArgument, match=r"^vectors\[2\]: must have 64 dimensions, has 3"):
        points.upsert(vectors=[*VECTORS[:2], [1.0] * 3, *VECTORS])
    with pytest.raises(InvalidArgument, match=r"^documents\[1\].metadata.a: must be finite"):
        points.upsert(
            [*rows(1), {"id": "x", "vector": VECTORS[0], "metadata": {"a": float("inf")}}, *rows()[2:]]
        )
    with pytest.raises(QuotaExceeded):
        points.upsert(rows(text="x" * 3_000))
    assert len(decoded) == 3
    assert points.count() == 0


def test_client_sends_json_to_a_server_without_arrow(
    db: akidb.Client, points: akidb.CollectionHandle, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    points.upsert(rows())
    assert len(decoded) == 1
    with monkeypatch.context() as older:
        older.setattr("akidb.api.headers.is_arrow", lambda _: False)  # another server, of an older version
        assert points.upsert(rows()).upserted == 40
    assert points.upsert(rows()).upserted == 40  # it does not ask again
    assert len(decoded) == 1


def test_client_asks_before_it_sends_arrow(
    points: akidb.CollectionHandle, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akidb.client.http.remote.MEDIA_TYPE", "application/of-the-future")
    assert points.upsert(rows()).upserted == 40
    assert decoded == []
