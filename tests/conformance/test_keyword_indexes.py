"""The keyword index on both kinds of store: scores, freshness, and independence of the order of writes."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from samples import Shelf, document

from akidb.deployment.places import UnknownDisk
from akidb.domain.entities import Collection
from akidb.domain.ids import StoreId
from akidb.domain.keywords import terms_of
from akidb.ports.documents import Selection
from akidb.search.keywords import database
from akidb.search.keywords.indexes import FtsKeywords

K1, B, LEAST_IDF = 1.2, 0.75, 1e-6
"""The parameters of FTS5's BM25, and its weight of words that more than half of the documents have."""
NOW = datetime(2026, 1, 31, tzinfo=UTC)
WORDS = ("fox", "dog", "bear", "Fox", "käse", "kase", "foxes", "日本語", "x1")


@pytest.fixture(params=["file", "temporary"])
def keywords(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FtsKeywords]:
    made = FtsKeywords(tmp_path / "indexes" if request.param == "file" else None, UnknownDisk(), lambda: NOW)
    yield made
    made.close()


def ask(
    keywords: FtsKeywords,
    shelf: Shelf,
    text: str,
    *,
    collection: Collection | None = None,
    store_id: StoreId | None = None,
    offset: int = 0,
    limit: int = 1_000,
) -> list[tuple[str, float]]:
    """Ids and scores of what is found."""
    of = collection or shelf.collection
    with (
        keywords.locked(shelf.tenant.tenant_id, store_id or shelf.store_id, of.collection_id) as index,
        shelf.reading(of) as reader,
    ):
        hits = index.find(reader, terms_of(text), offset, limit)
        assert index.sequence == reader.control.sequence
    return [(hit.id, hit.score) for hit in hits]


def tokens(text: str) -> list[str]:
    """The words of a text as FTS5 has them: lower case, without marks."""
    plain = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    return re.findall(r"\w+", plain)


def expected(texts: Mapping[str, str | None], question: str) -> list[tuple[str, float]]:
    """Ids and BM25 of the documents that have a word of the question."""
    words = {id: Counter(tokens(text)) for id, text in texts.items() if text is not None}
    total = len(words)
    average = sum(each.total() for each in words.values()) / max(total, 1)
    scores: dict[str, float] = {}
    for term in terms_of(question):
        (word,) = tokens(term.words[0])
        having = [id for id, counts in words.items() if counts[word]]
        idf = max(math.log((total - len(having) + 0.5) / (len(having) + 0.5)), LEAST_IDF)
        for id in having:
            often, length = words[id][word], words[id].total()
            share = often * (K1 + 1) / (often + K1 * (1 - B + B * length / average))
            scores[id] = scores.get(id, 0.0) + idf * share
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def assert_same(found: list[tuple[str, float]], wanted: list[tuple[str, float]]) -> None:
    assert dict(found) == pytest.approx(dict(wanted), rel=1e-9)
    assert found == sorted(found, key=lambda item: (-item[1], item[0]))


_TEXTS = st.one_of(st.none(), st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))
_STEPS = st.lists(
    st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["write", "delete", "search"]), _TEXTS),
    max_size=25,
)


@hypothesis.given(steps=_STEPS, question=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
@hypothesis.settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture],
)
def test_scores_are_bm25_whatever_was_written_before(
    shelf: Shelf,
    keywords: FtsKeywords,
    steps: list[tuple[str, str, str | None]],
    question: list[str],
) -> None:
    collection = shelf.new_collection(f"c{shelf.ids.new(StoreId)}")
    shelf.apply(collection)
    texts: dict[str, str | None] = {}
    asked = " ".join(question)
    for id, step, text in steps:
        if step == "write":
            shelf.upsert(document(id, text), collection=collection)
            texts[id] = text
        elif step == "delete":
            with shelf.writing(collection) as writer:
                writer.delete(only(id))
            texts.pop(id, None)
        else:
            assert_same(ask(keywords, shelf, asked, collection=collection), expected(texts, asked))
    caught_up = ask(keywords, shelf, asked, collection=collection)
    assert_same(caught_up, expected(texts, asked))
    keywords.forget(shelf.tenant.tenant_id, [collection.collection_id])
    assert ask(keywords, shelf, asked, collection=collection) == caught_up, "bit for bit as if built at once"


def only(id: str) -> Selection:
    return Selection(ids=[id])


def test_phrases_and_beginnings_of_words_are_found(shelf: Shelf, keywords: FtsKeywords) -> None:
    shelf.upsert(
        document("a", "New York in the spring"),
        document("b", "York, old and new"),
        document("c", "Yorkshire"),
        document("d", 'quotes " and NUL-like * signs AND OR NOT NEAR'),
        document("e"),
    )
    for text, ids in (
        ('"new york"', {"a"}),
        ("new york", {"a", "b"}),
        ("york*", {"a", "b", "c"}),
        ('"new yor"*', {"a"}),
        ('"new yor"', set()),
        ("near", {"d"}),
        ("NEAR(york new)", {"a", "b", "d"}),
        ("AND", {"b", "d"}),
        ("text:york", {"a", "b"}),
        ("-york", {"a", "b"}),
        ('york" OR "', {"a", "b", "d"}),
        ("nowhere", set()),
    ):
        assert {id for id, _ in ask(keywords, shelf, text)} == ids, text


def test_page_goes_on_where_the_last_one_ended(shelf: Shelf, keywords: FtsKeywords) -> None:
    shelf.upsert(*(document(f"d{n:02}", "same words" if n % 3 else "same words same") for n in range(30)))
    whole = ask(keywords, shelf, "same")
    assert len(whole) == 30
    parts = [ask(keywords, shelf, "same", offset=at, limit=7) for at in range(0, 30, 7)]
    assert [each for part in parts for each in part] == whole


def test_index_of_another_store_or_format_is_made_anew(
    shelf: Shelf, keywords: FtsKeywords, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.upsert(document("a", "fox"))
    assert len(ask(keywords, shelf, "fox")) == 1
    assert len(ask(keywords, shelf, "fox", store_id=shelf.ids.new(StoreId))) == 1
    keywords.close()
    monkeypatch.setattr(database, "FORMAT", 99)
    assert len(ask(keywords, shelf, "fox")) == 1


def test_collection_emptied_and_filled_again_is_found(shelf: Shelf, keywords: FtsKeywords) -> None:
    shelf.upsert(document("a", "fox"), document("b", "fox dog"))
    assert len(ask(keywords, shelf, "fox")) == 2
    with shelf.writing() as writer:
        writer.clear()
    assert ask(keywords, shelf, "fox") == []
    shelf.upsert(document("b", "bear"))
    assert [id for id, _ in ask(keywords, shelf, "bear fox")] == ["b"]


def test_many_deletions_and_updates_are_applied(
    shelf: Shelf, keywords: FtsKeywords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With so many that the index is made anew instead, and with commits in between."""
    monkeypatch.setattr(database, "REMOVALS", 20)
    monkeypatch.setattr(database, "COMMIT_BYTES", 50)
    shelf.upsert(*(document(f"d{n:03}", f"fox {n}") for n in range(100)))
    assert len(ask(keywords, shelf, "fox")) == 100
    shelf.delete(*(f"d{n:03}" for n in range(50)))
    shelf.upsert(*(document(f"d{n:03}", f"dog {n}") for n in range(50, 70)))
    assert len(ask(keywords, shelf, "fox")) == 30
    assert len(ask(keywords, shelf, "dog")) == 20
    assert len(ask(keywords, shelf, "5 55 75")) == 2
