"""The text of a keyword search as terms, and two rankings joined to one."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from akidb.domain.errors import InvalidArgument
from akidb.domain.fusion import MAX_WEIGHT, check_weights, fused
from akidb.domain.keywords import MAX_TERMS, Term, terms_of


def one(*words: str, is_prefix: bool = False) -> Term:
    return Term(words, is_prefix)


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (' -- ^ "" :() \0 😀', []),
        ("Two  words, two WORDS", [one("two"), one("words")]),
        ("a-b_c.d", [one("a"), one("b"), one("c"), one("d")]),
        ('say "New York" now', [one("say"), one("new", "york"), one("now")]),
        ('"new york"* "un closed', [one("new", "york", is_prefix=True), one("un"), one("closed")]),
        ('"inner* star" star*', [one("inner", "star"), one("star", is_prefix=True)]),
        ("star * alone", [one("star"), one("alone")]),
        (
            'NEAR(a b, 2) col:x -y ^z {a} + "q"',
            [one(word) for word in ("near", "a", "b", "2", "col", "x", "y", "z", "q")],
        ),
        (
            "日本語 Käse re\u0301sume\u0301 हिन्दी",
            [*map(one, ("日本語", "Käse", "re\u0301sume\u0301", "हिन्दी"))],
        ),
        ("x" * 10_000, [one("x" * 10_000)]),
    ],
)
def test_text_is_read_as_terms(text: str, terms: list[Term]) -> None:
    assert terms_of(text) == terms


def test_number_of_terms_is_bounded_and_repeated_ones_count_once() -> None:
    words = [f"w{n}" for n in range(MAX_TERMS)]
    assert len(terms_of(" ".join(words * 2))) == MAX_TERMS
    with pytest.raises(InvalidArgument) as caught:
        terms_of(" ".join([*words, "more"]))
    assert caught.value.field == "text"


@hypothesis.given(st.text(max_size=60))
def test_terms_have_only_letters_numbers_and_marks(text: str) -> None:
    for term in terms_of(text):
        assert term.words
        for word in term.words:
            assert word
            assert not set(word) & set(' "*^:()-+{}\0')


def test_rankings_are_joined_by_reciprocal_ranks() -> None:
    assert fused([(1, ["a", "b"]), (1, ["b", "c"])]) == [
        ("b", 1 / 62 + 1 / 61),
        ("a", 1 / 61),
        ("c", 1 / 62),
    ]
    assert [id for id, _ in fused([(1, ["a"]), (1, ["b"])])] == ["a", "b"], "equal scores by id"
    assert [id for id, _ in fused([(1, ["a"]), (2, ["b"])])] == ["b", "a"]
    assert [id for id, _ in fused([(0, ["a"]), (2, ["b"])])] == ["b"], "a ranking without weight adds nothing"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ([1, 2], "weights"),
        ({"words": 1}, "weights"),
        ({"vector": 0, "keyword": 0}, "weights"),
        ({"vector": -1}, "weights.vector"),
        ({"keyword": float("nan")}, "weights.keyword"),
        ({"keyword": MAX_WEIGHT + 1}, "weights.keyword"),
        ({"keyword": None}, "weights.keyword"),
        ({"keyword": True}, "weights.keyword"),
    ],
)
def test_invalid_weights_are_refused(value: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_weights(value)
    assert caught.value.field == field


def test_weights_are_one_unless_given() -> None:
    assert check_weights({}) == {"vector": 1, "keyword": 1}
    assert check_weights({"keyword": 0.5}) == {"vector": 1, "keyword": 0.5}
