"""What of the tenants' collections is in memory, within the quota of each and the limit of all."""

import pytest

from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, StoreId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.ports.documents import CollectionControl
from akidb.search.memory import Kind, Memory

SIZE = 100
PLENTY = 2**40


class Part:
    """A part of 100 bytes."""

    def __init__(self) -> None:
        self.memory_bytes = 0
        self.is_retired = False
        self.resident_bytes = SIZE


PARTS: Kind[Part] = Kind("vectors", lambda _memory, _control: Part(), lambda _memory, _control, _loaded: SIZE)


def tenant(number: int) -> TenantId:
    return TenantId(number.to_bytes(16, "big"))


def collection(number: int) -> CollectionControl:
    return CollectionControl(
        collection_key=number,
        collection_id=CollectionId(number.to_bytes(16, "big")),
        dimension=2,
        metric=Metric.COSINE,
        sequence=1,
        tombstone_floor=0,
        document_count=1,
        max_document_count=1,
        tenant_status=TenantStatus.ACTIVE,
        database_state=DatabaseState.READY,
        state=CollectionState.READY,
    )


class Tenants:
    """Uses of collections of tenants within a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self.memory = Memory(limit_bytes=limit_bytes)

    def use(self, of: int, number: int, quota_bytes: int = PLENTY, store: int = 1) -> Part | None:
        memory = self.memory.of(tenant(of), StoreId(store.to_bytes(16, "big")))
        return memory.take(PARTS, collection(number), min(quota_bytes, self.memory.limit_bytes))

    def loaded(self, *pairs: tuple[int, int]) -> list[bool]:
        """Return which of these collections, each of a tenant, are loaded."""
        return [
            self.memory.of(tenant(of), StoreId((1).to_bytes(16, "big"))).bytes_of(
                PARTS, collection(number).collection_id
            )
            > 0
            for of, number in pairs
        ]


def test_least_recently_used_of_any_tenant_is_evicted() -> None:
    tenants = Tenants(3 * SIZE)
    first = tenants.use(1, 1)
    for of, number in ((1, 2), (2, 3)):
        tenants.use(of, number)
    assert tenants.use(1, 1) is first
    tenants.use(3, 4)
    assert tenants.loaded((1, 1), (1, 2), (2, 3), (3, 4)) == [True, False, True, True]
    tenants.use(3, 5)
    assert tenants.loaded((1, 1), (2, 3), (3, 4), (3, 5)) == [True, False, True, True]
    assert tenants.memory.total_bytes == 3 * SIZE
    assert [tenants.memory.memory_bytes(tenant(of)) for of in (1, 2, 3)] == [SIZE, 0, 2 * SIZE]


def test_quota_of_a_tenant_evicts_only_its_own() -> None:
    tenants = Tenants(PLENTY)
    tenants.use(2, 9)
    for number in (1, 2, 3):
        tenants.use(1, number, quota_bytes=2 * SIZE)
    assert tenants.loaded((2, 9), (1, 1), (1, 2), (1, 3)) == [True, False, True, True]


def test_part_larger_than_the_limit_is_not_loaded_and_evicts_nothing() -> None:
    tenants = Tenants(SIZE)
    tenants.use(1, 1)
    large: Kind[Part] = Kind("vectors", lambda _memory, _control: Part(), lambda *_: SIZE + 1)
    memory = tenants.memory.of(tenant(2), StoreId((1).to_bytes(16, "big")))
    assert memory.take(large, collection(2), tenants.memory.limit_bytes) is None
    assert tenants.loaded((1, 1)) == [True]


def test_growth_is_accounted_and_makes_room() -> None:
    tenants = Tenants(3 * SIZE)
    tenants.use(1, 1)
    grown = tenants.use(2, 2)
    assert grown is not None
    grown.resident_bytes = 3 * SIZE
    memory = tenants.memory.of(tenant(2), StoreId((1).to_bytes(16, "big")))
    memory.settle(PARTS, collection(2).collection_id, grown, PLENTY)
    assert tenants.loaded((1, 1), (2, 2)) == [False, True]
    assert tenants.memory.total_bytes == 3 * SIZE


@pytest.mark.parametrize("way", ["forgotten", "replaced", "collection"])
def test_what_is_gone_is_not_accounted(way: str) -> None:
    tenants = Tenants(PLENTY)
    part = tenants.use(1, 1)
    tenants.use(2, 2)
    old = tenants.memory.of(tenant(1), StoreId((1).to_bytes(16, "big")))
    if way == "forgotten":
        tenants.memory.forget(tenant(1))
    elif way == "collection":
        tenants.memory.forget(tenant(1), [collection(1).collection_id])
    else:
        tenants.use(1, 3, store=2)
    assert part is not None
    assert part.is_retired
    late = old.take(PARTS, collection(1), PLENTY)  # by a search that began before
    assert late is not None
    assert tenants.memory.total_bytes == (2 if way == "replaced" else 1) * SIZE
