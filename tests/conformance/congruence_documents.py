"""Calls about documents, search and embedding that are run on every deployment."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from congruence_deployments import Transcript
from congruence_scenarios import DIMENSION, Scenario, made, some_documents, vectors

import akidb


def documents(db: akidb.Client, saw: Transcript) -> None:
    """Upsert, get, scan, count, update and delete, with filters and parts."""
    notes = made(db, "documents")
    saw(notes.upsert, some_documents(10))
    saw(notes.upsert, [akidb.DocumentInput(id="d003", text="again", vector=[0.5] * DIMENSION)])
    saw(lambda: notes.upsert([{"vector": list(range(1, DIMENSION + 1))}]).upserted)
    saw(notes.upsert, [{"id": "f64", "vector": vectors(1, 5)[0].astype(np.float64) * 1e3}])
    saw(notes.count)
    includes: tuple[Any, ...] = (
        (),
        ("text",),
        ("metadata",),
        ("vector",),
        list(akidb.Include),
        ["text", "text"],
        ["metadata.n", "vector"],
        ["metadata.at.x", "metadata.tags", "metadata.none"],
        ["metadata.n", "metadata"],
        ["metadata.a,b"],
        ["metadata."],
        ["score"],
    )
    for include in includes:
        saw(notes.get, "d003", include=include)
        saw(notes.get_many, ["d005", "none", "d001", "d005"], include=include)
        saw(notes.scan, limit=2, include=include)
        saw(notes.search, vectors(1)[0], top_k=2, include=include)
        saw(lambda parts: notes.changes(limit=2, include=parts).changes, include)
    saw(notes.find, "none")
    saw(notes.get, "none")
    saw(lambda: [notes.exists("none"), notes.exists("d001")])
    saw(notes.get_many, [])
    for wanted in filters():
        saw(notes.count, filter=wanted)
        saw(lambda **given: [d.id for d in notes.scan_all(**given) if d.id.startswith("d")], filter=wanted)
    first = notes.scan(limit=4, filter={"even": True})
    saw(lambda: first)
    saw(notes.scan, limit=4, filter={"even": True}, cursor=first.next_cursor)
    saw(notes.scan, limit=4, filter={"even": False}, cursor=first.next_cursor)
    saw(notes.update, {"even": None, "new": {"a": 1}}, ids=["d001", "d002", "none"])
    saw(notes.update, {"new": {"b": 2}}, filter={"new.a": 1})
    saw(notes.get_many, ["d001", "d002"], include=["metadata"])
    saw(notes.delete, ["d000", "d001", "none"])
    saw(notes.delete, filter={"n": {"$gte": 8}})
    saw(lambda: [d.id for d in notes.scan_all() if d.id.startswith("d")])
    saw(lambda: [d.id for d in notes.scan_all(order_by="even", descending=True) if d.id.startswith("d")])
    saw(notes.scan, order_by="even", limit=3, filter={"even": True})
    saw(notes.scan, order_by="$id")
    saw(db.tenants.get("documents").usage)
    saw(notes.update, {"x": 1})
    saw(notes.update, {"x": 1}, filter={})
    saw(notes.delete)
    saw(notes.delete, [])
    saw(notes.delete, filter={})
    saw(notes.delete, ["d002"], filter={"n": 1})
    saw(notes.clear)
    saw(notes.clear)
    saw(notes.count)
    saw(notes.upsert, some_documents(1))
    saw(db.tenants.get("documents").usage)


def modes(db: akidb.Client, saw: Transcript) -> None:
    """Upserts that insert only, skip or update documents."""
    notes = made(db, "modes")
    saw(notes.upsert, some_documents(3), mode="insert")
    saw(notes.upsert, some_documents(4), mode="insert")
    saw(notes.upsert, some_documents(5), mode=akidb.UpsertMode.SKIP)
    saw(notes.upsert, [{"id": "d001", "metadata": {"x": 1}}, {"id": "none", "text": "t"}], mode="update")
    saw(notes.upsert, [{"id": "d002", "text": "new", "vector": vectors(1, 7)[0]}], mode="update")
    bare: list[Any] = [{"id": "t", "text": "no vector"}, {"id": "m", "metadata": {"n": 1}, "vector": None}]
    saw(notes.upsert, bare)
    saw(notes.upsert, [*bare, {"id": "d001", "text": "keeps it"}], mode="update")
    saw(notes.upsert, [{"id": "nothing", "metadata": {}}])
    saw(notes.search, vectors(1)[0], include=list(akidb.Include))
    saw(notes.scan, include=list(akidb.Include))
    saw(notes.upsert, [{"id": "d001"}], mode="update")
    saw(notes.upsert, [{"text": "t"}], mode="update")
    saw(notes.upsert, some_documents(1), mode="replace")
    saw(notes.upsert, some_documents(1), mode=None)
    saw(db.tenants.get("modes").usage)


def filters() -> Iterator[dict[str, Any]]:
    yield {}
    yield {"n": 3}
    yield {"n": {"$gt": 2, "$lte": 5}}
    yield {"n": {"$in": [1, 2, "x"]}}
    yield {"n": {"$nin": [1, 2]}}
    yield {"even": {"$ne": True}}
    yield {"even": {"$exists": False}}
    yield {"tags": "t1"}
    yield {"tags": {"$contains": "t2"}}
    yield {"$text": {"$icontains": "NUMBER 4"}}
    yield {"$or": [{"tags": []}, {"$text": {"$regex": "number [35]$"}}]}
    yield {"$text": {"$regex": "(a+)+$"}}
    yield {"$text": {"$regex": "("}}
    yield {"at.x": {"$lt": 1.25}}
    yield {"$or": [{"n": 1}, {"$not": {"n": {"$lt": 9}}}]}
    yield {"$and": [{"even": True}, {"$text": {"$contains": "number 4"}}]}
    yield {"$id": {"$gte": "d007"}}
    yield {"$text": {"$contains": "日本"}}


def search(db: akidb.Client, saw: Transcript) -> None:
    """All metrics, filters, thresholds, parts; and by text."""
    query = vectors(1, 99)[0]
    for metric in akidb.Metric:
        notes = made(db, f"search-{metric}", metric=metric)
        saw(notes.search, query)
        notes.upsert(some_documents(40))
        notes.upsert([{"id": f"twin{n}", "vector": [1.0] * DIMENSION} for n in range(5)])
        saw(notes.search, query)
        saw(notes.search, query.tolist(), top_k=3, include=["vector"])
        saw(notes.search, [1] * DIMENSION, top_k=6, include=[])
        for wanted in filters():
            saw(notes.search, query, filter=wanted, top_k=4, ef_search=50)
        saw(notes.search, query, score_threshold=0.1, top_k=100)
        saw(notes.search, id="d003", top_k=4, include=["vector", "metadata.n"])
        saw(notes.search, id="none")
        saw(notes.search, query, id="d003")
        saw(notes.search, query, group_by="tags", group_size=2, top_k=3, include=["metadata.n"])
        saw(notes.search, query, group_by="even", top_k=5)
        saw(notes.search, query, group_by="nowhere")
        saw(notes.search, query, group_by="")
        saw(notes.search, query, group_size=2)
        saw(notes.search, query, group_by="n", group_size=100, top_k=101)
        saw(notes.search_many, vectors(2, 5), group_by="at.x", top_k=2)
        page = notes.search(query, top_k=15, filter={"n": {"$lt": 30}})
        saw(notes.search, query, top_k=100, filter={"n": {"$lt": 30}}, cursor=page.next_cursor)
        saw(notes.search, query, top_k=15, cursor=page.next_cursor)
        saw(notes.search, query, top_k=15, filter={"n": {"$lt": 30}}, cursor=page.next_cursor, group_by="n")
        saw(notes.search, query, cursor="x")
        saw(notes.search_many, vectors(3, 5), top_k=2)
        saw(notes.search_many, vectors(3, 5).tolist(), top_k=2, include=["vector"], filter={"n": {"$gt": 2}})
        saw(notes.search_many, ids=["d001", "d002"], top_k=3, score_threshold=0)
        saw(notes.search_many, ids=["d001", "none"])
        saw(notes.search_many, np.ones((201, DIMENSION)))
        saw(notes.search_many, [[1.0] * DIMENSION, [0.5]])
        saw(notes.search_many, np.full((2, DIMENSION), np.inf))
        saw(notes.search_many, vectors(1)[0])
        saw(notes.search_many, ["text", 7])
        saw(notes.search_many, [])
        saw(notes.search_many)
        saw(notes.search, "text")
    words = made(db, "search-text", embedding_model="hash", dimension=None)
    saw(lambda: words)
    words.upsert([{"id": w, "text": f"{w} and more words"} for w in ("alpha", "beta", "gamma")])
    saw(words.search, "beta and more words", top_k=2, include=["text", "vector"])
    saw(words.search, vectors(1)[0])
    saw(words.search_many, ["beta and more words", "gamma"], top_k=1)
    saw(words.search_many, (word for word in ("alpha", "x" * 9_000)), include=[])
    for question in ("beta", "more ALPHA", '"and more"', "al* gam*", '"', "日本", "none", "", "\0"):
        saw(words.search, question, mode="keyword", highlights=True)
        saw(words.search, question, mode="hybrid", highlights=True, include=["vector"])
    saw(words.search, "beta more", mode="keyword", filter={"$id": {"$ne": "beta"}}, top_k=1)
    saw(words.search, "more", mode="keyword", score_threshold=1.0)
    saw(words.search, "beta", mode="hybrid", vector=vectors(1)[0], weights={"vector": 0.5})
    saw(words.search, "beta", mode="hybrid", weights={"vector": -1})
    saw(words.search, "beta", mode="hybrid", weights={"word": 1})
    saw(words.search, "beta", mode="hybrid", weights=[1, 2])
    saw(words.search, "beta", mode="word")
    saw(words.search, "beta", id="beta", mode="keyword")
    saw(words.search, "beta", highlights=True)
    saw(words.search, vectors(1)[0], mode="keyword")
    saw(words.search, " ".join(f"w{n}" for n in range(257)), mode="keyword")


def models(db: akidb.Client, saw: Transcript) -> None:
    """Embedding without storing, and the models of the machine."""
    saw(db.embed, ["one", "two words", "日本"], model="hash")
    saw(db.embed, "one", model="hash")
    saw(db.embed, [], model="hash")
    saw(db.embed, ["one", ""], model="hash")
    saw(db.embed, ["one"], model="nothing-like-it")
    saw(db.embed, ["one"])
    saw(db.embed, ["one"] * 2049, model="hash")
    for text in ("a\0b", "\ud800", "x" * (2**20 + 1)):
        saw(db.embed, ["fine", text], model="hash")
    saw(db.models.list)
    saw(db.models.info, "hash")
    saw(db.models.pull, "hash")
    for name in ("nothing-like-it", "", ".", "..", "../x", "a/b", "é ?#"):
        saw(db.models.info, name)


DOCUMENT_SCENARIOS: list[Scenario] = [documents, modes, search, models]
