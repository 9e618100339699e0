"""Operator lists: name search, sort orders and filters against a reference list; damaged rows."""

import logging
from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from samples import Library, RawSql

from akidb.domain.entities import Tenant
from akidb.domain.errors import Damaged, InvalidArgument
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import fold, fold_name
from akidb.metadata import lists, names
from akidb.ports.metadata import MetadataStore

NEEDLES = [
    None,
    "a",
    "al",
    "alpha",
    "CAFÉ",
    "cafe\u0301",
    "é",
    "日",
    "本語",
    "x",
    "17",
    "corp 1",
    "nobody",
    "ﬁ",
    '"',
    "%",
    "_",
]
NAMES = [
    "Alpha",
    "BETA Corp",
    "Café Noir",
    "日本語",
    "Zyz",
    "oﬃce",
    'say "hi" 100%',
    "under_score",
    "ÅNGSTRÖM",
    "Straße",
]


def listed(metadata: MetadataStore, limit: int = 1000, **how: Any) -> list[Tenant]:
    """All of a list, page by page."""
    found: list[Tenant] = []
    cursor: str | None = None
    filters: dict[str, Any] = {"status": None, "external_id": None, "deleted": False, **how}
    while True:
        with metadata.read() as tx:
            page = tx.tenants.list(**filters, limit=limit, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            return found


def key_of(sort: TenantSort) -> Callable[[Tenant], Any]:
    if sort.field == "name":
        return lambda tenant: (fold_name(tenant.name), tenant.tenant_id.raw)
    return lambda tenant: (getattr(tenant, sort.field), tenant.tenant_id.raw)


def expected(
    tenants: list[Tenant], needle: str | None, status: TenantStatus | None, sort: TenantSort
) -> list[Tenant]:
    wanted = [
        tenant
        for tenant in tenants
        if (status is None or tenant.status == status)
        and (needle is None or fold(needle) in fold_name(tenant.name))
    ]
    return sorted(wanted, key=key_of(sort), reverse=sort.is_descending)


@pytest.fixture
def tenants(metadata: MetadataStore, library: Library) -> list[Tenant]:
    """More tenants than SQLite indexes in one batch, with equal times and a clock that goes backwards."""
    random = Random(5)
    made = []
    with metadata.transaction() as tx:
        for number in range(700):
            library.clock.advance(seconds=random.choice([0, 0, 1, -2]))
            name = f"{random.choice(NAMES)} {number % 97}"
            status = random.choice([TenantStatus.ACTIVE, TenantStatus.ACTIVE, TenantStatus.SUSPENDED])
            updated_at = library.clock.now + timedelta(seconds=random.randrange(50))
            made.append(library.new_tenant(f"t{number}", name=name, status=status, updated_at=updated_at))
            tx.tenants.create(made[-1])
    return made


@pytest.mark.parametrize("bounds", [(2_000, 4_000), (20, 4_000), (20, 3), (0, 0)])
def test_all_filters_and_sort_orders_match_reference_list(
    metadata: MetadataStore, tenants: list[Tenant], monkeypatch: pytest.MonkeyPatch, bounds: tuple[int, int]
) -> None:
    """Whether it is read in its order, from the index, or both."""
    monkeypatch.setattr(lists, "STRETCH_ROWS", bounds[0])
    monkeypatch.setattr(names, "MAX_CANDIDATES", bounds[1])
    lists._stretch.cache_clear()
    orders = Random(bounds[0] + bounds[1]).sample(list(TenantSort), 3)
    for sort in orders:
        for needle in NEEDLES:
            for status in (None, TenantStatus.ACTIVE, TenantStatus.SUSPENDED, TenantStatus.PROVISIONING):
                found = listed(metadata, 50, name_contains=needle, status=status, sort=sort)
                wanted = expected(tenants, needle, status, sort)
                assert found == wanted, (sort, needle, status)
                with metadata.read() as tx:
                    assert tx.tenants.count(name_contains=needle, status=status) == len(wanted)
    lists._stretch.cache_clear()


@pytest.mark.parametrize("sort", list(TenantSort))
def test_list_is_same_for_every_page_size(
    metadata: MetadataStore, library: Library, sort: TenantSort
) -> None:
    made = [library.tenant(f"t{number}", name=f"Name {number % 3}") for number in range(9)]
    for limit in (1, 2, 3, 8, 9, 10):
        assert listed(metadata, limit, sort=sort) == expected(made, None, None, sort)


@pytest.mark.parametrize("sort", list(TenantSort))
def test_paging_neither_skips_nor_repeats_unchanged_tenants_during_writes(
    metadata: MetadataStore, library: Library, sort: TenantSort
) -> None:
    there = [library.tenant(f"m{number:02}", name=f"m corp {number:02}") for number in range(20)]
    seen: list[Tenant] = []
    cursor: str | None = None
    for round in range(60):
        with metadata.read() as tx:
            page = tx.tenants.list(
                status=None,
                external_id=None,
                deleted=False,
                limit=3,
                cursor=cursor,
                name_contains="corp",
                sort=sort,
            )
        seen += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
        library.clock.advance(seconds=(-1) ** round)
        library.tenant(f"a{round}", name=f"a corp {round}")
        library.tenant(f"z{round}", name=f"z corp {round}") if round < 4 else None
    assert len(seen) == len({tenant.tenant_id for tenant in seen})
    kept = [tenant for tenant in seen if tenant in there]
    assert kept == expected(there, None, None, sort)


def test_cursor_is_bound_to_sort_order_and_search_text(metadata: MetadataStore, library: Library) -> None:
    for number in range(3):
        library.tenant(f"t{number}", name="Corp")
    filters: dict[str, Any] = {"status": None, "external_id": None, "deleted": False}
    with metadata.read() as tx:
        page = tx.tenants.list(**filters, limit=1, cursor=None, name_contains="corp", sort=TenantSort.NAME)
        for other in (
            {"sort": TenantSort.NAME_DESCENDING},
            {"sort": TenantSort.SLUG},
            {"name_contains": "cor"},
        ):
            how: dict[str, Any] = {"name_contains": "corp", "sort": TenantSort.NAME, **other}
            with pytest.raises(InvalidArgument) as caught:
                tx.tenants.list(**filters, limit=1, cursor=page.next_cursor, **how)
            assert caught.value.field == "cursor"


def test_name_search_finds_new_name_and_not_old_name_after_rename(
    metadata: MetadataStore, library: Library
) -> None:
    """Before the index has it, and after."""
    made = [library.new_tenant(f"t{number}", name=f"Plain {number}") for number in range(600)]
    with metadata.transaction() as tx:
        for tenant in made:
            tx.tenants.create(tenant)
    for tenant in (made[3], made[-1]):
        renamed = tenant.changed(library.clock.now, name="Quux Zyzzyva")
        with metadata.transaction() as tx:
            tx.tenants.update(renamed)
        assert listed(metadata, name_contains="zyzzyva") == [renamed]
        assert tenant.slug not in {each.slug for each in listed(metadata, name_contains=tenant.name)}
        with metadata.transaction() as tx:
            tx.tenants.delete(renamed, library.clock.now)
        assert listed(metadata, name_contains="zyzzyva") == []
        assert [each.slug for each in listed(metadata, name_contains="zyzzyva", deleted=True)] == [
            tenant.slug
        ]
        with metadata.transaction() as tx:
            tx.tenants.purge(tenant.tenant_id, library.clock.now)
        assert listed(metadata, name_contains="zyzzyva", deleted=True) == []


def test_deleted_tenants_are_listed_and_counted_separately(metadata: MetadataStore, library: Library) -> None:
    made = [library.tenant(f"t{number}", name=f"Name {number}") for number in range(6)]
    for tenant in made[:4]:
        with metadata.transaction() as tx:
            tx.tenants.delete(tenant, library.clock.now)
    for sort in TenantSort:
        slugs = [tenant.slug for tenant in expected(made[:4], None, None, sort)]
        assert [tenant.slug for tenant in listed(metadata, 3, deleted=True, sort=sort)] == slugs
    with metadata.read() as tx:
        counts = [tx.tenants.count(), tx.tenants.count(deleted=True), tx.tenants.count(external_id="x")]
        assert counts == [2, 4, 0]
        assert tx.tenants.count(status=TenantStatus.ACTIVE) == 2


def test_databases_and_collections_are_counted(metadata: MetadataStore, library: Library) -> None:
    tenant = library.tenant()
    databases = [library.database(tenant, f"d{number}") for number in range(3)]
    collections = [library.collection(databases[0], f"c{number}") for number in range(4)]
    with metadata.transaction() as tx:
        tx.databases.delete(databases[2], library.clock.now)
        tx.collections.delete(collections[0], library.clock.now)
    with metadata.read() as tx:
        assert [tx.databases.count(tenant.tenant_id, deleted=flag) for flag in (False, True)] == [2, 1]
        where = (tenant.tenant_id, databases[0].database_id)
        assert [tx.collections.count_in(*where, deleted=flag) for flag in (False, True)] == [3, 1]
        assert tx.collections.count_in(tenant.tenant_id, databases[1].database_id) == 0


def test_name_with_very_long_case_folding_is_stored(metadata: MetadataStore, library: Library) -> None:
    """One character of these becomes 18; an index of PostgreSQL holds 2,700 bytes."""
    tenant = library.tenant("long", name="\ufdfa" * 255)
    assert listed(metadata, sort=TenantSort.NAME) == [tenant]
    assert listed(metadata, name_contains="صلى الله") == [tenant]


DAMAGE = {
    "state": "UPDATE tenants SET status = 'lost' WHERE slug = 'broken'",
    "metadata": "UPDATE tenants SET metadata = '{' WHERE slug = 'broken'",
    "time": "UPDATE tenants SET created_at = 'yesterday' WHERE slug = 'broken'",
}


@pytest.mark.parametrize("kind", list(DAMAGE))
@pytest.mark.parametrize("metadata", ["sqlite"], indirect=True)
def test_unreadable_row_does_not_hide_other_tenants(
    metadata: MetadataStore, library: Library, raw: RawSql, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL's types leave no way to write such a row."""
    made = [library.tenant(slug, name=f"Corp {slug}") for slug in ("a", "broken", "c", "d")]
    with metadata.transaction() as tx:
        connection: Any = tx.tenants
        connection._connection.exec_driver_sql("PRAGMA ignore_check_constraints = ON")
        connection._connection.exec_driver_sql(DAMAGE[kind])
        connection._connection.exec_driver_sql("PRAGMA ignore_check_constraints = OFF")
    sound = [tenant for tenant in made if tenant.slug != "broken"]
    with caplog.at_level(logging.WARNING, "akidb.sql"):
        for sort in (TenantSort.CREATED_AT, TenantSort.NAME_DESCENDING, TenantSort.SLUG):
            for limit in (1, 2, 3, 4):
                found = listed(metadata, limit, sort=sort)
                assert found == expected(sound, None, None, sort)
                assert listed(metadata, limit, sort=sort, name_contains="corp") == found
    assert "left out of a list" in caplog.text
    with metadata.read() as tx:
        assert tx.tenants.get("a") == made[0]
        with pytest.raises(Damaged, match="akidb doctor") as caught:
            tx.tenants.get("broken")
    assert caught.value.fields["id"] == str(made[1].tenant_id)
    assert any(f"tenant {made[1].tenant_id} cannot be read" in finding for finding in metadata.check())


def test_check_reports_only_name_changed_by_raw_sql(
    metadata: MetadataStore, library: Library, raw: RawSql
) -> None:
    tenant = library.tenant(name="Straße")
    library.database(tenant)
    assert metadata.check() == []
    raw("UPDATE tenants SET name = 'Other'")
    assert [str(tenant.tenant_id) in finding for finding in metadata.check()] == [True]
