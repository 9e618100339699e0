"""Every operation responds to another tenant's IDs exactly as to unknown IDs."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from stage import ROWS, Ids, build, local, request_of

from akidb.domain.errors import AkiDBError
from akidb.domain.ids import CollectionId, DatabaseId, UserId
from akidb.operations import Operation, Operations

UNKNOWN = {
    "database": DatabaseId(bytes(range(16))),
    "collection": CollectionId(bytes(range(16))),
    "user": UserId(bytes(range(16))),
}
BELOW = [row for row in ROWS if set(UNKNOWN) & set(row.places)]
"""Operations about something in a tenant."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def staged(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Operations, dict[str, Ids]]]:
    folder = tmp_path_factory.mktemp("isolation")
    server = request.getfixturevalue("postgres_server") if request.param == "postgresql" else None
    place: Any = folder / "data" if server is None else server.url()
    with local(place, folder) as operations:
        yield operations, build(operations)
    if server is not None:
        server.drop(place)


def _answer(operations: Operations, row: Operation, **places: Any) -> str:
    try:
        operations.perform(request_of(row, **{"tenant": "mine", **places}))
    except AkiDBError as error:
        text = f"{type(error).__name__} {error.message} {error.fields}"
        for place in places.values():
            text = text.replace(str(place), "<id>")
        return text
    return "done"


@pytest.mark.parametrize("row", BELOW, ids=[row.name for row in BELOW])
def test_foreign_ids_are_reported_like_unknown_ids(
    row: Operation, staged: tuple[Operations, dict[str, Ids]]
) -> None:
    operations, ids = staged
    theirs = ids["theirs"]
    foreign = {"database": theirs.database, "collection": theirs.collection, "user": theirs.user}
    named = [place for place in row.places if place in UNKNOWN]
    for chosen in product([False, True], repeat=len(named)):
        places = [place for place, is_chosen in zip(named, chosen, strict=True) if is_chosen]
        if places:
            got = _answer(operations, row, **{place: foreign[place] for place in places})
            expected = _answer(operations, row, **{place: UNKNOWN[place] for place in places})
            assert got == expected
            assert got.startswith("NotFound"), got
