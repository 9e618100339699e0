"""Typed IDs: text form, order, bit layout, and type checks."""

import copy
import pickle
import threading
from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import (
    AuditEntryId,
    CollectionId,
    DatabaseId,
    DocumentId,
    EntityId,
    IdGenerator,
    StoreId,
    TenantId,
    UserId,
    is_uuid_shaped,
)

KINDS = (TenantId, DatabaseId, CollectionId, DocumentId, UserId, AuditEntryId, StoreId)
TEXT = "018f3c2e-7b6a-7c3d-8e9f-0a1b2c3d4e5f"
RFC_9562_EXAMPLE = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
"""Appendix A.6: 2022-02-22 19:22:22 UTC, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F."""


class Clock:
    """Milliseconds that the test sets."""

    def __init__(self, milliseconds: int) -> None:
        self.milliseconds = milliseconds

    def __call__(self) -> int:
        return self.milliseconds


@pytest.fixture
def clock() -> Clock:
    return Clock(1_769_850_900_000)


@pytest.fixture
def generator(clock: Clock) -> IdGenerator:
    return IdGenerator(clock, Random(7).getrandbits)


@pytest.mark.parametrize("kind", KINDS)
def test_id_text_round_trips(kind: type[EntityId]) -> None:
    assert str(kind.parse(TEXT)) == TEXT
    assert kind.parse(TEXT).raw.hex() == TEXT.replace("-", "")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{" + TEXT + "}", id="braces"),
        pytest.param("urn:uuid:" + TEXT, id="urn"),
        pytest.param(TEXT.upper(), id="upper case"),
        pytest.param(TEXT[:-1] + "F", id="one capital"),
        pytest.param(TEXT.replace("0", "\uff10"), id="full-width digits"),
        pytest.param(TEXT.replace("1", "\u0661"), id="Arabic digits"),
        pytest.param(TEXT.replace("-", ""), id="32 digits"),
        pytest.param(TEXT + "\n", id="trailing newline"),
        pytest.param(" " + TEXT, id="leading space"),
        pytest.param(TEXT[:-1], id="too short"),
        pytest.param(TEXT + "0", id="too long"),
        pytest.param(TEXT[:-1] + "g", id="no hexadecimal digit"),
        pytest.param(TEXT.replace("-", "\u2010"), id="other hyphens"),
        pytest.param("018f3c2e7-b6a-7c3d-8e9f-0a1b2c3d4e5f", id="hyphen misplaced"),
        pytest.param("", id="empty"),
        pytest.param(None, id="none"),
        pytest.param(TEXT.encode(), id="bytes"),
        pytest.param(int(TEXT.replace("-", ""), 16), id="integer"),
    ],
)
def test_invalid_id_text_is_refused(text: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        TenantId.parse(text)
    assert caught.value.field == "tenant_id"


def test_invalid_id_error_names_field() -> None:
    with pytest.raises(InvalidArgument) as caught:
        DatabaseId.parse("kb", "database")
    assert caught.value.field == "database"


@pytest.mark.parametrize("value", [b"", bytes(15), bytes(17), bytearray(16), memoryview(bytes(16)), "x" * 16])
def test_id_requires_exactly_16_bytes(value: bytes) -> None:
    with pytest.raises(ValueError, match="TenantId takes exactly 16 bytes"):
        TenantId(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_ids_of_different_types_are_not_equal(kind: type[EntityId], other: type[EntityId]) -> None:
    same = kind is other
    assert (kind(bytes(16)) == other(bytes(16))) is same
    assert len({kind(bytes(16)), other(bytes(16))}) == (1 if same else 2)
    assert kind(bytes(16)) != other(b"\1" * 16)
    assert kind.parse(TEXT) != TEXT


def test_ids_of_different_types_cannot_be_ordered() -> None:
    with pytest.raises(TypeError):
        sorted([TenantId(bytes(16)), DatabaseId(bytes(16))])


@given(st.lists(st.binary(min_size=16, max_size=16)))
def test_ids_sort_like_their_bytes_and_text(values: list[bytes]) -> None:
    ids = sorted(map(TenantId, values))
    assert [each.raw for each in ids] == sorted(values)
    assert [str(each) for each in ids] == sorted(str(each) for each in ids)


def test_id_is_immutable() -> None:
    tenant_id = TenantId.parse(TEXT)
    with pytest.raises(AttributeError, match="immutable"):
        tenant_id.raw = bytes(16)
    with pytest.raises(AttributeError, match="immutable"):
        del tenant_id.raw
    with pytest.raises(AttributeError, match="immutable"):
        tenant_id.note = "x"
    assert str(tenant_id) == TEXT


@pytest.mark.parametrize(
    "through",
    [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deep"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_copied_id_equals_original(kind: type[EntityId], through: Callable[[EntityId], EntityId]) -> None:
    made = through(kind.parse(TEXT))
    assert made == kind.parse(TEXT)
    assert type(made) is kind


def test_repr_of_id_has_type_and_text() -> None:
    assert repr(CollectionId.parse(TEXT)) == f"CollectionId('{TEXT}')"


@pytest.mark.parametrize("text", [TEXT, TEXT.upper()])
def test_uuid_shape_is_recognized_in_either_case(text: str) -> None:
    assert is_uuid_shaped(text)
    assert not is_uuid_shaped(text + "\n")
    assert not is_uuid_shaped(text[1:])


def test_generated_id_matches_rfc_9562_example() -> None:
    tail = (0xCC3 << 62) | 0x18C4DC0C0C07398F
    generator = IdGenerator(lambda: 0x017F22E279B0, lambda _bits: tail)
    assert str(generator.new(TenantId)) == RFC_9562_EXAMPLE


@given(st.integers(0, 2**48 - 1), st.randoms(use_true_random=False))
def test_generated_ids_contain_time_version_and_variant(milliseconds: int, random: Random) -> None:
    made = int.from_bytes(IdGenerator(lambda: milliseconds, random.getrandbits).new(TenantId).raw, "big")
    assert made >> 80 == milliseconds
    assert (made >> 76) & 0xF == 7
    assert (made >> 62) & 0b11 == 0b10


def test_ids_of_a_clock_before_1970_sort_by_creation() -> None:
    generator = IdGenerator(lambda: -5_000, Random(7).getrandbits)
    made = [generator.new(TenantId) for _ in range(100)]
    assert sorted(made, key=lambda each: each.raw) == made
    assert {each.raw[:6] for each in made} == {bytes(6)}


def test_generator_returns_requested_type(generator: IdGenerator) -> None:
    assert [type(generator.new(kind)) for kind in KINDS] == list(KINDS)


def test_ids_from_same_millisecond_sort_by_creation(generator: IdGenerator) -> None:
    made = [generator.new(TenantId) for _ in range(10_000)]
    assert all(a < b for a, b in pairwise(made))
    assert len({each.raw[:6] for each in made}) == 1


def test_ids_sort_by_creation_when_clock_steps_back(generator: IdGenerator, clock: Clock) -> None:
    made = []
    for step in (0, 5, -3_600_000, -1, 0, 1, 3_600_005):
        clock.milliseconds += step
        made += [generator.new(TenantId) for _ in range(100)]
    assert all(a < b for a, b in pairwise(made))


def test_counter_overflow_carries_into_next_millisecond(clock: Clock) -> None:
    generator = IdGenerator(clock, lambda bits: (1 << bits) - 1 if bits == 73 else 1 << 73)
    made = [generator.new(TenantId) for _ in range(3)]
    assert all(a < b for a, b in pairwise(made))
    assert int.from_bytes(made[-1].raw[:6], "big") > clock.milliseconds


def test_ids_generated_concurrently_are_unique_and_ordered_per_thread(generator: IdGenerator) -> None:
    made: list[list[TenantId]] = [[] for _ in range(8)]
    start = threading.Barrier(len(made))

    def make(mine: list[TenantId]) -> None:
        start.wait()
        mine.extend(generator.new(TenantId) for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each for mine in made for each in mine}) == 8 * 2_000
    for mine in made:
        assert all(a < b for a, b in pairwise(mine))
