"""The quick check of a batch accepts only what the slow one accepts, and returns the same."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain.batches import check_fields
from akidb.domain.columns import DocumentColumns
from akidb.domain.documents import DocumentInput
from akidb.domain.errors import InvalidArgument
from akidb.services.plain_batches import plain_batch

TEXTS = st.text(st.characters(), max_size=6) | st.sampled_from(["\0", "\ud800", "é", "x" * 513])
SCALARS: Any = (
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | TEXTS
    | st.sampled_from([np.str_("a"), np.int64(7), np.float32(0.5), b"x", (1, 2), {3}, "\\u0000"])
)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(), inner, max_size=3),
)
DOCUMENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "id": TEXTS | st.none() | st.integers(),
            "text": TEXTS | st.none(),
            "metadata": st.dictionaries(TEXTS, VALUES, max_size=3) | st.none() | st.just([]),
            "vector": st.just([1.0]),
        },
    ),
    max_size=4,
)


def slowly(documents: Any) -> tuple[list[Any], ...] | None:
    try:
        checked = [check_fields(document, place) for place, document in enumerate(documents)]
    except InvalidArgument:
        return None
    ids = [id for id, *_ in checked if id is not None]
    if len(set(ids)) < len(ids):
        return None
    return tuple(list(column) for column in zip(*checked, strict=True)) or ([], [], [], [])


@given(DOCUMENTS)
def test_quick_check_agrees_with_slow_one(documents: list[dict[str, Any]]) -> None:
    documents = [{"vector": [1.0], **document} for document in documents]
    names = {"ids": "id", "texts": "text", "metadatas": "metadata", "vectors": "vector"}
    columns = DocumentColumns(
        {name: [document.get(field) for document in documents] for name, field in names.items()}
    )
    for form in (documents, columns):
        found = plain_batch(form)
        if found is not None:
            assert (found.ids, found.texts, found.vectors, found.metadata) == slowly(documents)


@pytest.mark.parametrize("count", [1, 1000])
def test_usual_documents_take_the_quick_check(count: int) -> None:
    metadata: dict[str, Any] = {
        "year": 2026,
        "tags": ["a", "é"],
        "author": {"name": "x", "score": 0.5},
        "no": None,
    }
    fields: list[dict[str, Any]] = [
        {"id": f"d{n}", "text": f"Text Ünïcode {n}", "vector": [1.0], "metadata": {**metadata, "n": n}}
        for n in range(count)
    ]
    slow = slowly(fields)
    for documents in (fields, [DocumentInput(**each) for each in fields]):
        found = plain_batch(documents)
        assert found is not None
        assert (found.ids, found.texts, found.vectors, found.metadata) == slow
    assert plain_batch([*fields, {"vector": [1.0], "id": "d0"}]) is None
