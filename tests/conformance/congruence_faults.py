"""Invalid calls, run on every deployment: each must fail identically and change nothing."""

from typing import Any

import numpy as np
from congruence_deployments import Transcript
from congruence_scenarios import DIMENSION, Scenario, made, some_documents, vectors

import akidb

NAMES = ("", " ", "../x", ".", "..", "a/b", "a" * 300, "a\n", "a\0b", "é", "a\ud800", "-a", "A b", "a?b=c#d")
UUIDS = (
    "0190aaaa-0000-7000-8000-000000000000",
    "{0190aaaa-0000-7000-8000-000000000000}",
    "0190AAAA-0000-7000-8000-000000000000",
)
NUMBERS: tuple[Any, ...] = (0, -1, 2**63, 2**64, 10**30, 1.5, True, "5", float("nan"))


def names(db: akidb.Client, saw: Transcript) -> None:
    """Names, slugs and IDs of every wrong shape."""
    notes = made(db, "wrong-names")
    tenant = db.tenants.get("wrong-names")
    kb = tenant.databases.get("kb")
    for name in (*NAMES, *UUIDS):
        # A lone surrogate cannot be sent at all, so that another check than the field's own refuses it.
        say = saw.place if "\ud800" in name else saw
        say(db.tenants.create, "Fine", slug=name)
        say(db.tenants.find, name)
        say(tenant.databases.create, name)
        say(tenant.databases.get, name)
        say(kb.collections.create, name, dimension=16)
        say(kb.collections.get, name)
        say(kb.collections.delete, name)
        say(notes.upsert, [{"id": name, "vector": [1] * DIMENSION}])
        say(notes.find, name)
    for name in ("", "  ", "a" * 256, "a\n", "a\0b", "a\ud800"):
        say = saw.place if "\ud800" in name else saw
        say(db.tenants.create, name, slug="never")
        say(tenant.update, name=name)
        say(db.tenants.get_or_create, name)
        say(db.tenants.create, "Fine", external_id=name)
        say(tenant.databases.create, "never", description=name)
        say(tenant.suspend, reason=name or None)
        tenant.activate()
    for word in (Word("wrong-word"), np.str_("wrong-numpy-word")):
        tried = saw(db.tenants.create, "Fine", slug=word)
        saw(db.tenants.create, "Fine", slug=word)
        saw(kb.collections.create, word, dimension=16)
        saw(kb.collections.get, word)
        assert tried is not None
        saw(tried.update, slug=Word(f"{word}-2"))
    saw(db.tenants.exists, "never")


def settings(db: akidb.Client, saw: Transcript) -> None:
    """Quotas, dimensions and metadata that cannot be."""
    made(db, "wrong-settings")
    tenant = db.tenants.get("wrong-settings")
    kb = tenant.databases.get("kb")
    for number in NUMBERS:
        for quota in ("memory_quota_bytes", "storage_quota_bytes", "qps_quota"):
            saw.place(db.tenants.create, "Fine", slug="odd", **{quota: number})
            saw.place(tenant.update, **{quota: number})
        for field in ("dimension", "hnsw_m", "hnsw_ef_construction", "max_document_count"):
            saw.place(kb.collections.create, "never", **{"dimension": 16, field: number})
        saw.place(tenant.update, name="never", if_version=number)
        saw.place(kb.update, schema_version=number)
        saw.place(db.tenants.list, limit=number)
    for metadata in BAD_METADATA:
        saw(db.tenants.create, "Fine", slug="odd", metadata=metadata)
        saw(tenant.update, metadata=metadata)
    saw(kb.collections.create, "never")
    saw(kb.collections.create, "never", embedding_model="nothing-like-it")
    saw(kb.collections.create, "never", embedding_model="hash", dimension=17)
    saw(kb.collections.create, "never", embedding_model="all-minilm-l6-v2")
    saw.place(kb.collections.create, "never", dimension=16, metric="manhattan")
    saw.place(db.tenants.create, "Fine", slug="odd", status="suspended")
    saw.place(db.tenants.create, "Fine", slug="odd", status="made-up")
    saw.place(tenant.databases.create, "never", state="migrating")
    saw.place(kb.update, state="made-up")
    saw.place(db.tenants.list, status="made-up")
    saw(kb.collections.get_or_create, "notes", dimension=17)
    saw(kb.collections.get_or_create, "notes", metric=akidb.Metric.L2)
    saw(lambda: [tenant.entity, kb.entity, kb.collections.count(), db.tenants.exists("odd")])


BAD_METADATA: tuple[Any, ...] = (
    {"a": {"b": [1, float("nan")]}},
    {"a": float("inf")},
    {1: "a"},
    {"a": {2: 3}},
    {"a": {1, 2}},
    {"a": (1, 2)},
    {"a": np.float32(1)},
    {"a": b"bytes"},
    {"a": 2**63},
    {"a": "x\0"},
    {"a\ud800": 1},
    {"a": "x" * 2**20},
    [("a", 1)],
    "text",
)


def documents(db: akidb.Client, saw: Transcript) -> None:
    """Documents that cannot be, in the middle of a batch."""
    for metric in akidb.Metric:
        notes = made(db, f"wrong-documents-{metric}", metric=metric)
        for vector in BAD_VECTORS:
            saw.place(notes.upsert, [*some_documents(3), {"id": "bad", "vector": vector}])
        saw(notes.count)
    fine = vectors(1)[0]
    for document in (
        {},
        {"id": "x"},
        {"text": "only text"},
        {"vector": fine, "metadatas": {}},
        {"vector": fine, "id": "x" * 513},
        {"vector": fine, "id": "é" * 257},
        {"vector": fine, "text": "a\0b"},
        {"vector": fine, "text": "\ud800"},
        {"vector": fine, "text": "x" * (2**20 + 1)},
        *({"vector": fine, "metadata": metadata} for metadata in BAD_METADATA),
        {"vector": fine, "id": "d001"},
    ):
        saw(notes.upsert, [*some_documents(2), document])
    values: tuple[Any, ...] = (5, True, ["x"], {})
    for value in values:
        saw.place(notes.upsert, [{"vector": fine, "id": value}])
        saw.place(notes.upsert, [{"vector": fine, "text": value}])
        saw.place(notes.upsert, [value])
    for batch in ([], {}, {"id": "x"}, "text", 5, None, [{"vector": fine}] * 10_001):
        saw(notes.upsert, batch)
    words = made(db, "wrong-words", embedding_model="hash", dimension=None)
    saw(words.upsert, [{"text": "fine"}, {"id": "x", "metadata": {}}])
    saw(words.upsert, [{"text": "fine"}, {"vector": fine}])
    saw(lambda: [notes.count(), words.count()])


BAD_VECTORS: tuple[Any, ...] = (
    [1.0] * (DIMENSION - 1),
    [1.0] * (DIMENSION + 1),
    [],
    [0.0] * DIMENSION,
    np.zeros(DIMENSION, np.float32),
    [*[1.0] * (DIMENSION - 1), float("nan")],
    np.array([*[1.0] * (DIMENSION - 1), np.nan]),
    [*[1.0] * (DIMENSION - 1), float("inf")],
    np.full(DIMENSION, -np.inf, np.float32),
    [1e300] * DIMENSION,
    [1e30] * DIMENSION,
    np.full((1, DIMENSION), 1.0),
    np.full(DIMENSION, 1 + 2j),
    np.array(["x"] * DIMENSION),
    np.array([True] * DIMENSION),
    ["x"] * DIMENSION,
    [True] * DIMENSION,
    [None] * DIMENSION,
    [[1.0] * DIMENSION],
    "x" * DIMENSION,
    [10**400] * DIMENSION,
    np.array([10**400] * DIMENSION),
    5,
    {"a": 1},
)


def questions(db: akidb.Client, saw: Transcript) -> None:
    """Searches, filters, ids and pages that cannot be."""
    notes = made(db, "wrong-questions")
    notes.upsert(some_documents(3))
    fine = vectors(1)[0]
    for vector in BAD_VECTORS:
        if not isinstance(vector, str):
            saw.place(notes.search, vector)
    for text in ("", "x" * (2**20 + 1), "a\0b", "\ud800"):
        saw(notes.search, text)
    saw.place(notes.search, None)
    for number in (*NUMBERS, 10_001):
        saw.place(notes.search, fine, top_k=number)
        saw.place(notes.search, fine, ef_search=number)
        saw.place(notes.scan, limit=number)
    for threshold in (float("nan"), float("-inf"), "x", True):
        saw.place(notes.search, fine, score_threshold=threshold)
    for include in (["texts"], "text", [5], None, [["text"]]):
        saw(notes.search, fine, include=include)
        saw(notes.scan, include=include)
        saw(notes.find, "d001", include=include)
    for wrong in BAD_FILTERS:
        saw(notes.search, fine, filter=wrong)
        saw(notes.scan, filter=wrong)
        saw(notes.count, filter=wrong)
        saw(notes.delete, filter=wrong)
        saw(notes.update, {"x": 1}, filter=wrong)
    for ids in ("d001", ["d001", 5], ["d001", ""], [None], 5, {"a": 1}, ["x"] * 10_001, ["\ud800"]):
        saw(notes.get_many, ids)
        saw(notes.delete, ids)
        saw(notes.update, {"x": 1}, ids=ids)
    for metadata in BAD_METADATA:
        saw(notes.update, metadata, ids=["d001"])
    for cursor in ("", "x", "a b&c=d", "é", "A" * 5000, "\ud800"):
        say = saw.place if "\ud800" in cursor else saw
        say(notes.scan, cursor=cursor)
        say(db.tenants.list, cursor=cursor)
    saw(notes.scan)


BAD_FILTERS: tuple[Any, ...] = (
    {"$foo": 1},
    {"year": {"$foo": 1}},
    {"$and": [{"$or": [{"a": 1}, {"b": {"$not": {"$in": 5}}}]}]},
    {"$and": [{"a": 1}, {"$or": [{"b": {"$in": [1, {"c": 2}]}}]}]},
    {"$and": {}},
    {"$or": []},
    {"a": {"$gt": None}},
    {"a": {"$exists": 1}},
    {"a": float("nan")},
    {"a": {1, 2}},
    {1: 2},
    {"a": 2**70},
    {"": 1},
    [],
    "a = 1",
    5,
)

WRONG: tuple[Any, ...] = (
    *(b"x", bytearray(b"x"), 5, True, 1.5, float("nan"), ["x"], {"a": b"x"}, {1}, "x\0"),
    np.zeros(3),
)


class Word(str):
    """Text that is no plain `str`, and so is nothing that JSON has a form for."""

    __slots__ = ()


def types(db: akidb.Client, saw: Transcript) -> None:
    """Values of every wrong type; None too, where it is not what stands for the default."""
    notes = made(db, "wrong-types")
    words = made(db, "wrong-typed-words", embedding_model="hash", dimension=None)
    tenant = db.tenants.get("wrong-types")
    kb = tenant.databases.get("kb")
    for value in (None, *WRONG):
        saw(db.tenants.create, value)
        saw(db.tenants.get, value)
        saw(db.tenants.find_external, value)
        saw(tenant.databases.create, value)
        saw(tenant.databases.get, value)
        saw(kb.collections.create, value, dimension=16)
        saw(kb.collections.get, value)
        saw(db.models.info, value)
        saw(db.models.pull, value)
        saw(db.embed, value, model="hash")
        for name in ("name", "slug", "storage_quota_bytes", "metadata"):
            saw(tenant.update, **{name: value})
        saw(kb.update, name=value)
        saw(kb.collections.update, "notes", name=value)
    for value in WRONG:
        saw(db.tenants.create, "Fine", slug="odd-type", status=value)
        saw(db.tenants.create, "Fine", slug=value)
        saw(db.tenants.create, "Fine", slug="odd-type", external_id=value)
        saw(db.tenants.list, status=value)
        saw.place(db.tenants.list, cursor=value)
        saw(tenant.update, external_id=value)
        saw(tenant.suspend, reason=value)
        tenant.activate()
        saw(kb.collections.create, "never", embedding_model=value)
        saw(db.embed, ["x"], model=value)
        saw.place(notes.search, vectors(1)[0], score_threshold=value)
    for value in (None, b"x", bytearray(b"x"), True, 1.5, float("nan"), ["x"], {"a": b"x"}, {1}, "5"):
        saw(notes.search, vectors(1)[0], top_k=value)
        saw(notes.scan, limit=value)
        if value is not None:
            saw(notes.search, vectors(1)[0], ef_search=value)
            saw(kb.collections.create, "never", dimension=value)
            saw(kb.collections.create, "never", dimension=16, hnsw_m=value)
    for value in (b"x", bytearray(b"x"), "x\0"):
        saw.place(words.search, value)
    saw(lambda: [db.tenants.exists(slug) for slug in ("odd-type", "fine", "ea", "ea--")])


FAULTS: list[Scenario] = [names, settings, documents, questions, types]
