"""Search results equal brute force after any writes and under every query plan."""

from itertools import count
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from samples import Floats, Shelf, document, vector_of
from search_samples import INDEXES, Librarian, assert_best, scored, true_scores

from akidb.documents import deletions
from akidb.domain.documents import Document
from akidb.domain.entities import Metric
from akidb.domain.filters import Filter
from akidb.ports.documents import Selection
from akidb.search.index import LocalIndex

METRICS = pytest.mark.parametrize("metric", list(Metric))
NO_MEMORY = 0
_numbers = count()


@pytest.fixture(params=INDEXES)
def librarian(request: pytest.FixtureRequest, shelf: Shelf) -> Librarian:
    return Librarian(shelf, request.param())


def whole(seed: int) -> Floats:
    """A vector of small whole numbers: many of them have equal scores."""
    values = np.random.default_rng(seed).integers(-1, 2, size=16).astype(np.float32)
    values[0] = 1
    return values


def of_any_length(seed: int) -> Floats:
    """A vector that its seed decides, of norm 1 to 5."""
    return vector_of(str(seed)) * np.float32(1 + seed % 5)


def fill(librarian: Librarian, size: int, metric: Metric = Metric.COSINE) -> tuple[Any, list[Document]]:
    collection = librarian.new_collection(f"c{next(_numbers)}", metric)
    made = [document(f"d{n:05}", f"text {n}", {"n": n, "even": n % 2 == 0}) for n in range(size)]
    librarian.shelf.upsert(*made, collection=collection)
    return collection, made


IDS = st.sampled_from([f"{letter}{digit}" for letter in "abcdefgh" for digit in range(4)])
WRITES = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.dictionaries(IDS, st.integers(0, 200), min_size=1, max_size=12)),
        st.tuples(st.just("delete"), st.lists(IDS, max_size=8)),
    ),
    max_size=8,
)


@METRICS
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, ties=st.booleans(), top_k=st.integers(1, 40), question=st.integers(0, 10**6))
def test_search_matches_brute_force_after_any_writes(
    librarian: Librarian, metric: Metric, writes: list[Any], ties: bool, top_k: int, question: int
) -> None:
    collection = librarian.new_collection(f"c{next(_numbers)}", metric)
    asked = whole(question) if ties else vector_of(str(question))
    known: dict[str, Document] = {}
    for verb, what in [*writes, ("delete", [])]:
        if verb == "upsert":
            made = [
                document(id, metadata={"seed": seed}, vector=whole(seed) if ties else of_any_length(seed))
                for id, seed in what.items()
            ]
            librarian.shelf.upsert(*made, collection=collection)
            known |= {each.id: each for each in made}
        else:
            with librarian.shelf.writing(collection) as writing:
                writing.delete(Selection(ids=what))
            known = {id: each for id, each in known.items() if id not in what}
        filtered = {id: each for id, each in known.items() if (each.metadata or {})["seed"] < 60}
        for filter, expected in ((None, known), ({"seed": {"$lt": 60}}, filtered)):
            answer = librarian.ask(asked, top_k, filter, collection=collection)
            assert_best(answer, true_scores(expected.values(), asked, metric), top_k)
            assert answer.statistics.plan == "exact"
            assert answer.statistics.scanned == len(known)
            assert answer.statistics.allowed == len(expected)
            from_disk = librarian.ask(asked, top_k, filter, collection=collection, quota=NO_MEMORY)
            assert scored(from_disk) == scored(answer)


@METRICS
def test_rows_reusing_deleted_slots_have_correct_scores(librarian: Librarian, metric: Metric) -> None:
    collection = librarian.new_collection("holes", metric)
    made = [document(f"d{n:03}", vector=of_any_length(n)) for n in range(300)]
    librarian.shelf.upsert(*made, collection=collection)
    librarian.ask(vector_of("question"), collection=collection)
    for start in (0, 100, 250):
        with librarian.shelf.writing(collection) as writing:
            writing.delete(Selection(ids=[each.id for each in made[start : start + 40]]))
        del made[start : start + 40]
        for number in range(10):
            question = of_any_length(1_000 + number)
            answer = librarian.ask(question, 5, collection=collection)
            assert_best(answer, true_scores(made, question, metric), 5)


@METRICS
def test_ids_and_order_match_brute_force_for_thousands_of_rows(librarian: Librarian, metric: Metric) -> None:
    collection, made = fill(librarian, 3_000, metric)
    for number in range(20):
        question = vector_of(f"question {number}")
        expected = true_scores(made, question, metric)
        best = sorted(expected, key=lambda each: (-expected[each], each))[:10]
        answer = librarian.ask(question, collection=collection)
        assert [hit.id for hit in answer.hits] == best
        assert_best(answer, expected, 10)


@METRICS
@pytest.mark.parametrize("dimension", [16, 17, 384])
def test_identical_rows_have_identical_scores_and_are_ordered_by_id(
    librarian: Librarian, metric: Metric, dimension: int
) -> None:
    """Thousands of equal rows among others: no place in a block changes a score."""
    collection = librarian.new_collection("twins", metric, dimension)
    twin = vector_of("twin", dimension)
    twins = [document(f"t{n:04}", vector=twin) for n in range(3_000)]
    others = [document(f"o{n:04}", vector=vector_of(f"o{n}", dimension)) for n in range(1_111)]
    mixed = sorted(twins + others, key=lambda each: each.id[1:])
    for start in range(0, len(mixed), 1_000):
        librarian.shelf.upsert(*mixed[start : start + 1_000], collection=collection)
    question = vector_of("question", dimension) * 3
    for asked in (twin, question):
        answer = librarian.ask(asked, 4_111, collection=collection)
        scores = {hit.score for hit in answer.hits if hit.id[0] == "t"}
        assert len(scores) == 1
        best = librarian.ask(asked, 50, collection=collection)
        assert scored(best) == scored(answer)[:50]
    assert [hit.id for hit in librarian.ask(twin, 50, collection=collection).hits] == [
        f"t{n:04}" for n in range(50)
    ]


@METRICS
@pytest.mark.parametrize("scale", [1e-30, 1e-24, 1e-22, 3e-22, 1e-21, 1e-20, 1e-8, 1e8, 1e17])
def test_vectors_with_extreme_norms_match_brute_force(
    librarian: Librarian, metric: Metric, scale: float
) -> None:
    collection = librarian.new_collection("odd", metric)
    made = [document(f"d{n:03}", vector=(vector_of(f"d{n}") * scale).astype(np.float32)) for n in range(400)]
    librarian.shelf.upsert(*made, collection=collection)
    question = (vector_of("question") * scale).astype(np.float32)
    expected = true_scores(made, question, metric)
    # Scores are float32: squares and products of very short vectors become 0, and ids decide.
    smallest = 1e-5 if metric is Metric.COSINE else max(1e-5 * max(map(abs, expected.values())), 1e-20)
    for top_k in (1, 10, 399):
        answer = librarian.ask(question, top_k, collection=collection)
        assert_best(answer, expected, top_k, tolerance=smallest)
        from_disk = librarian.ask(question, top_k, collection=collection, quota=NO_MEMORY)
        assert scored(from_disk) == scored(answer)


@pytest.mark.parametrize("question_scale", [1.0, 1e10])
def test_nearly_equal_tiny_rows_are_ranked_correctly_for_large_query(
    librarian: Librarian, question_scale: float
) -> None:
    """Their squares are 0 as float32, so that a bound on rounding must not rest on those alone."""
    collection = librarian.new_collection("short", Metric.DOT, 384)
    random = np.random.default_rng(7)
    base = random.normal(size=(40, 384)) * 10**-23.5
    rows = base[random.integers(0, 40, 2_000)] * (1 + random.normal(size=(2_000, 384)) * 1e-7)
    made = [document(f"d{n:04}", vector=row) for n, row in enumerate(rows.astype(np.float32))]
    librarian.shelf.upsert(*made, collection=collection)
    question = vector_of("question", 384) * np.float32(question_scale)
    answer = librarian.ask(question, 30, collection=collection)
    from_disk = librarian.ask(question, 30, collection=collection, quota=NO_MEMORY)
    assert scored(from_disk) == scored(answer)


def test_cosine_ignores_vector_norm(librarian: Librarian) -> None:
    collection = librarian.new_collection("lengths")
    lengths = [1e-30, 1e-10, 1.0, 1e10, 1e17]
    made = [
        document(f"d{n}", vector=(vector_of(f"d{n}") * lengths[n % 5]).astype(np.float32)) for n in range(100)
    ]
    librarian.shelf.upsert(*made, collection=collection)
    question = vector_of("question")
    answer = librarian.ask(question, 100, collection=collection)
    assert_best(answer, true_scores(made, question, Metric.COSINE), 100)


@METRICS
def test_vector_finds_itself_with_best_score(librarian: Librarian, metric: Metric) -> None:
    collection, _ = fill(librarian, 50, metric)
    best = librarian.ask(vector_of("d00007"), 1, collection=collection).hits[0]
    assert best.id == "d00007"
    assert best.score == pytest.approx(0 if metric is Metric.L2 else 1, abs=1e-6)
    assert best.score <= 1
    assert str(best.score) != "-0.0"


@METRICS
@pytest.mark.parametrize(
    ("filter", "allowed"),
    [
        ({"n": {"$gte": 0}}, 500),
        ({"n": -1}, 0),
        ({"n": {"$lt": 5}}, 5),
        ({"n": {"$lt": 90}}, 90),
        ({"even": True}, 250),
        ({"$text": {"$contains": "text 7"}}, 11 + 100 - 89),
        ({"$id": {"$in": ["d00003", "absent"]}}, 1),
    ],
)
def test_filtered_search_returns_best_matching_rows(
    librarian: Librarian, metric: Metric, filter: dict[str, Any], allowed: int
) -> None:
    collection, made = fill(librarian, 500, metric)
    question = vector_of("question")
    parsed = Filter.parse(filter)
    expected = [each for each in made if parsed.matches(each.id, each.text, each.metadata or {})]
    if "$text" not in filter:
        assert len(expected) == allowed
    for top_k in (1, 10, 1_000):
        for quota in (2**30, NO_MEMORY):
            answer = librarian.ask(question, top_k, filter, collection=collection, quota=quota)
            assert_best(answer, true_scores(expected, question, metric), top_k)
            assert answer.statistics.allowed == len(expected)


def test_cached_filters_are_correct_after_writes(librarian: Librarian) -> None:
    """The same index, asked with the same filters after each write, and a new one, agree."""
    collection, _ = fill(librarian, 60)
    filters: list[dict[str, Any]] = [{"even": True}, {"n": {"$lt": 7}}, {"$text": {"$contains": "new"}}]
    filters += [{"$text": {"$regex": "^new$"}}, {"$text": {"$icontains": "NEW"}}]
    question = vector_of("question")

    def check() -> None:
        for filter in filters:
            kept = librarian.ask(question, 100, filter, collection=collection)
            fresh = librarian.ask(question, 100, filter, collection=collection, index=LocalIndex())
            assert scored(kept) == scored(fresh)
            assert kept.statistics == fresh.statistics

    check()
    librarian.shelf.upsert(
        document("d00004", "new", {"n": 4, "even": False}),
        document("new", "new", {"n": 1}),
        collection=collection,
    )
    check()
    with librarian.shelf.writing(collection) as writing:
        writing.delete(Selection(ids=["d00000", "d00059", "new", "d00030"]))
    check()
    with librarian.shelf.writing(collection) as writing:
        writing.update(Selection(ids=["d00001", "d00002"]), lambda _id, _old: '{"even":true,"n":3}')
    check()
    librarian.shelf.upsert(*(document(f"e{n}", "new", {"n": n}) for n in range(200)), collection=collection)
    check()


def test_changes_are_not_compared_with_filters_of_earlier_searches(
    librarian: Librarian, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search without a filter has no deadline."""
    collection, _ = fill(librarian, 20)
    question = vector_of("question")
    compared: list[bytes] = []
    matches = Filter.matches

    def seen(self: Filter, id: str, text: str | None, metadata: Any) -> bool:
        compared.append(self.canonical)
        return matches(self, id, text, metadata)

    for filter in ({"even": True}, {"$or": [{"$not": {"$text": {"$regex": "1$"}}}]}):
        librarian.ask(question, 5, filter, collection=collection)
    librarian.shelf.upsert(document("new", "new", {"n": 1}), collection=collection)
    monkeypatch.setattr(Filter, "matches", seen)
    librarian.ask(question, 5, collection=collection)
    assert compared == []


def test_only_first_filter_reads_all_rows(librarian: Librarian) -> None:
    collection, _ = fill(librarian, 20)
    question = vector_of("question")
    librarian.ask(question, 5, collection=collection)
    librarian.ask(question, 5, {"even": True}, collection=collection)
    assert librarian.asked == [0]
    for filter in ({"even": False}, {"n": {"$gte": 7}}, {"$id": {"$gt": "d"}}, {"none": 1}):
        librarian.ask(question, 5, filter, collection=collection)
        assert librarian.asked == []
    librarian.shelf.upsert(document("new", "new", {"n": 1000}), collection=collection)
    found = librarian.ask(question, 5, {"n": 1000}, collection=collection)
    assert [hit.id for hit in found.hits] == ["new"]
    assert librarian.asked == [20, 20]  # the vectors, and the columns


def test_filters_beyond_cache_size_give_correct_answers(librarian: Librarian) -> None:
    collection, made = fill(librarian, 100)
    question = vector_of("question")
    for _ in range(2):
        for bound in range(0, 100, 4):
            answer = librarian.ask(question, 5, {"n": {"$gte": bound}}, collection=collection)
            assert_best(answer, true_scores(made[bound:], question, Metric.COSINE), 5)


def test_scores_below_threshold_are_left_out(librarian: Librarian) -> None:
    collection, _ = fill(librarian, 100)
    question = vector_of("question")
    everything = scored(librarian.ask(question, 100, collection=collection))
    bound = everything[9][1]
    assert scored(librarian.ask(question, 100, threshold=bound, collection=collection)) == everything[:10]
    assert scored(librarian.ask(question, 5, threshold=bound, collection=collection)) == everything[:5]
    assert scored(librarian.ask(question, 100, threshold=1.1, collection=collection)) == []


@pytest.mark.parametrize("quota", [2**30, NO_MEMORY])
def test_empty_collection_has_no_matches(librarian: Librarian, quota: int) -> None:
    for filter in (None, {"n": 1}):
        answer = librarian.ask(vector_of("question"), 10, filter, quota=quota)
        assert answer.hits == []
        assert (answer.statistics.scanned, answer.statistics.allowed) == (0, 0)


def test_deletions_with_pruned_tombstones_are_excluded(
    librarian: Librarian, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "TOMBSTONES_KEPT", 3)
    collection, made = fill(librarian, 40)
    question = vector_of("question")
    librarian.ask(question, collection=collection)
    with librarian.shelf.writing(collection) as writing:
        writing.delete(Selection(ids=[f"d{n:05}" for n in range(20)]))
    answer = librarian.ask(question, 40, collection=collection)
    assert_best(answer, true_scores(made[20:], question, Metric.COSINE), 40)


def test_row_reusing_deleted_key_is_distinguished_by_sequence(librarian: Librarian) -> None:
    """A new row may get the key of the newest that was deleted; its sequence is another."""
    collection, _ = fill(librarian, 3)
    before = librarian.ask(vector_of("d00002"), 1, collection=collection).hits[0]
    with librarian.shelf.writing(collection) as writing:
        writing.delete(Selection(ids=["d00002"]))
    librarian.shelf.upsert(document("other", vector=vector_of("d00002")), collection=collection)
    after = librarian.ask(vector_of("d00002"), 1, collection=collection).hits[0]
    assert after.id == "other"
    assert (after.document_key, after.sequence) != (before.document_key, before.sequence)
