"""List order, and cursors that neither skip nor repeat rows during concurrent writes."""

from datetime import timedelta
from typing import Any

import pytest
from places import PLACES, Place, id_of
from samples import Clock, Library

from akidb.domain.errors import InvalidArgument
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import fold_name
from akidb.ports.metadata import MetadataStore


@pytest.fixture(params=list(PLACES))
def place(request: pytest.FixtureRequest, library: Library) -> Place:
    return PLACES[request.param](library)


def create(metadata: MetadataStore, place: Place, *names: str, **fields: Any) -> list[Any]:
    made = [place.new(name, **fields) for name in names]
    with metadata.transaction() as tx:
        for each in made:
            place.repository(tx).create(each)
    return made


def walk(metadata: MetadataStore, place: Place, limit: int, **how: Any) -> list[Any]:
    """All items, page by page, each read in a transaction of its own."""
    items: list[Any] = []
    cursor: str | None = None
    while True:
        with metadata.read() as tx:
            page = place.page(tx, limit=limit, cursor=cursor, **how)
        assert len(page.items) <= limit
        items += page.items
        cursor = page.next_cursor
        if cursor is None:
            return items
        assert len(page.items) == limit


@pytest.mark.parametrize("limit", [1, 2, 5, 6, 7, 100])
def test_list_is_same_for_every_page_size(metadata: MetadataStore, place: Place, limit: int) -> None:
    made = create(metadata, place, "b", "a-z", "a", "0", "c", "ab")
    if place.entity == "tenant":
        expected = sorted(made, key=lambda each: (each.created_at, id_of(each)))
    else:
        expected = sorted(made, key=lambda each: each.name)
    assert walk(metadata, place, limit) == expected


def test_last_page_has_no_next_cursor(metadata: MetadataStore, place: Place) -> None:
    create(metadata, place, "a", "b")
    with metadata.read() as tx:
        assert place.page(tx, limit=2).next_cursor is None
        assert place.page(tx, limit=1).next_cursor is not None


def test_names_sort_by_bytes(metadata: MetadataStore, library: Library) -> None:
    place = PLACES["databases"](library)
    create(metadata, place, "a", "B", "Z", "b", "0", "a.b", "a-b", "a_b")
    with metadata.read() as tx:
        names = [each.name for each in place.page(tx).items]
    assert names == sorted(names)
    assert names[:3] == ["0", "B", "Z"]


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_tenants_sort_by_code_points_of_folded_names(
    metadata: MetadataStore, library: Library, limit: int
) -> None:
    names = [
        "b",
        "A",
        "Z",
        "a-b",
        "a b",
        "é",
        "É",
        "e\u0301",
        "ß",
        "ss",
        "日本語",
        "\uff21",
        "\U0001d4b3",
        "ﬀ",
    ]
    with metadata.transaction() as tx:
        for number, name in enumerate(names):
            tx.tenants.create(library.new_tenant(f"tenant-{number:02}", name=name))
    place = PLACES["tenants"](library)
    found = [each.name for each in walk(metadata, place, limit, sort=TenantSort.NAME)]
    assert [fold_name(name) for name in found] == sorted(map(fold_name, names))
    assert sorted(found) == sorted(names)
    by_slug = [each.slug for each in walk(metadata, place, limit, sort=TenantSort.SLUG)]
    assert by_slug == sorted(by_slug)


def test_tenants_sort_by_creation_time_then_id(metadata: MetadataStore, library: Library) -> None:
    place = PLACES["tenants"](library)
    late = [
        library.new_tenant(f"late{n}", created_at=library.clock.now + timedelta(days=1)) for n in range(5)
    ]
    early = [library.new_tenant(f"early{n}") for n in range(5)]
    with metadata.transaction() as tx:
        for each in reversed(late + early):
            tx.tenants.create(each)
    for limit in (1, 3, 10):
        assert [each.slug for each in walk(metadata, place, limit)] == [t.slug for t in early + late]


def test_paging_neither_skips_nor_repeats_unchanged_rows_during_writes(
    metadata: MetadataStore, place: Place, clock: Clock
) -> None:
    """While a list is read, others are added before and behind the cursor, and some are deleted."""
    there = create(metadata, place, *(f"m{number:02}" for number in range(20)))
    doomed = there[5]
    seen: list[Any] = []
    cursor: str | None = None
    for round in range(100):
        with metadata.read() as tx:
            page = place.page(tx, limit=3, cursor=cursor)
        seen += page.items
        create(metadata, place, f"a{round:02}", f"z{round:02}" if round < 3 else f"b{round:02}")
        if round == 0:
            with metadata.transaction() as tx:
                place.repository(tx).delete(doomed, clock.now)
        cursor = page.next_cursor
        if cursor is None or len(seen) > 200:
            break
        clock.advance(seconds=-1)  # tenants are added before the cursor too
    ids = [id_of(each) for each in seen]
    assert len(ids) == len(set(ids))
    assert [each for each in seen if each in there] == [each for each in there if each != doomed]


@pytest.mark.parametrize("how", [{"deleted": True}, {"status": TenantStatus.ACTIVE}, {"external_id": "x"}])
def test_cursor_is_bound_to_filter_of_its_list(
    metadata: MetadataStore, library: Library, how: dict[str, Any]
) -> None:
    place = PLACES["tenants"](library)
    create(metadata, place, "a", "b")
    with metadata.read() as tx:
        cursor = place.page(tx, limit=1).next_cursor
        with pytest.raises(InvalidArgument) as caught:
            place.page(tx, cursor=cursor, **how)
    assert caught.value.field == "cursor"


@pytest.mark.parametrize("kind", ["databases", "collections"])
def test_cursor_is_bound_to_its_parent(metadata: MetadataStore, library: Library, kind: str) -> None:
    place = PLACES[kind](library)
    create(metadata, place, "a", "b")
    library_of_others = Library(metadata, library.clock, library.ids)
    others = library_of_others.tenant("others")
    with metadata.read() as tx:
        cursor = place.page(tx, limit=1).next_cursor
        with pytest.raises(InvalidArgument):
            tx.databases.list(others.tenant_id, deleted=False, limit=1, cursor=cursor)
        with pytest.raises(InvalidArgument):
            place.page(tx, deleted=True, cursor=cursor)


def test_tenants_are_listed_by_status_and_by_external_id(metadata: MetadataStore, library: Library) -> None:
    place = PLACES["tenants"](library)
    active = library.tenant("one", external_id="crm/1")
    suspended = library.tenant("two", external_id="crm/2", status=TenantStatus.SUSPENDED)
    with metadata.read() as tx:
        assert place.page(tx).items == [active, suspended]
        assert place.page(tx, status=TenantStatus.SUSPENDED).items == [suspended]
        assert place.page(tx, status=TenantStatus.PROVISIONING).items == []
        assert place.page(tx, external_id="crm/1").items == [active]
        assert place.page(tx, external_id="crm/1", status=TenantStatus.SUSPENDED).items == []
        assert place.page(tx, external_id="CRM/1").items == []


@pytest.mark.parametrize(
    "filters", [{"status": TenantStatus.ACTIVE}, {"status": TenantStatus.ACTIVE, "external_id": None}]
)
def test_filtered_list_is_paged(metadata: MetadataStore, library: Library, filters: dict[str, Any]) -> None:
    place = PLACES["tenants"](library)
    active = [library.tenant(f"a{number}") for number in range(5)]
    library.tenant("s", status=TenantStatus.SUSPENDED)
    assert walk(metadata, place, 2, **filters) == active
