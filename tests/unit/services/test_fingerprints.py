"""The fingerprint of a request does not depend on how it is computed: stored ones are compared with it."""

import hashlib
from typing import Any

import pytest

from akidb.observe import context
from akidb.operations import OPERATIONS
from akidb.operations.documents import DeleteDocuments, UpsertDocuments
from akidb.ports import wire
from akidb.services.idempotency import request_key

PLACE: dict[str, Any] = {"tenant": "t", "database": "d", "collection": "c"}


@pytest.mark.parametrize(
    "asked",
    [
        UpsertDocuments(**PLACE, documents=[]),
        UpsertDocuments(**PLACE, documents=[{"id": "a", "metadata": {"b": 1, "a": [1.5, "ä"]}}]),
        UpsertDocuments(**PLACE, documents=[{"id": str(n), "vector": [0.1, 1, -2e9]} for n in range(50)]),
        UpsertDocuments(**PLACE, documents=({"id": "a", "text": "x"},)),
        DeleteDocuments(**PLACE, ids=["a", "b"]),
    ],
    ids=["none", "one", "many", "tuple", "other"],
)
@pytest.mark.parametrize("also", [None, "more"])
def test_fingerprint_is_that_of_the_whole_json(asked: Any, also: object) -> None:
    row = OPERATIONS[type(asked)]
    with context.request(idempotency_key="key"):
        key = request_key(row, asked, also=also)
    assert key is not None
    given = row.given(asked)
    given.pop("mode", None)  # the default one, which requests did not have before
    whole = wire.encode_ordered([given, getattr(asked, "if_version", None), also])
    assert key.fingerprint == hashlib.sha256(whole).digest()
