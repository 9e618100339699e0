"""State transitions and the operations each state permits, compared with the specification."""

from itertools import product

import pytest

from akidb.domain.errors import InvalidState
from akidb.domain.lifecycle import (
    ENTITY_OF,
    MOVES,
    PERMITTED,
    Access,
    CollectionState,
    DatabaseState,
    State,
    TenantStatus,
    UserStatus,
    move,
    require,
)

KINDS = (TenantStatus, DatabaseState, CollectionState, UserStatus)
ALLOWED = {
    ("tenant", "provisioning", "active"),
    ("tenant", "provisioning", "decommissioned"),
    ("tenant", "active", "suspended"),
    ("tenant", "suspended", "active"),
    ("tenant", "active", "decommissioned"),
    ("tenant", "suspended", "decommissioned"),
    ("database", "provisioning", "ready"),
    ("database", "provisioning", "deleting"),
    ("database", "ready", "migrating"),
    ("database", "migrating", "ready"),
    ("database", "ready", "deleting"),
    ("database", "migrating", "deleting"),
    ("collection", "creating", "ready"),
    ("collection", "ready", "deleting"),
    ("user", "active", "suspended"),
    ("user", "suspended", "active"),
    ("user", "active", "deactivated"),
    ("user", "suspended", "deactivated"),
    ("user", "deactivated", "active"),
}
READS = {"metadata_read", "audit_read"}
METADATA = READS | {"metadata_write"}
EVERYTHING = METADATA | {"document_read", "document_write"}
LETS_THROUGH: dict[tuple[str, str], set[str]] = {
    ("tenant", "provisioning"): METADATA,
    ("tenant", "active"): EVERYTHING,
    ("tenant", "suspended"): READS,
    ("tenant", "decommissioned"): set(),
    ("database", "provisioning"): METADATA,
    ("database", "ready"): EVERYTHING,
    ("database", "migrating"): READS | {"document_read"},
    ("database", "deleting"): set(),
    ("collection", "creating"): READS,
    ("collection", "ready"): EVERYTHING,
    ("collection", "deleting"): set(),
    ("user", "active"): EVERYTHING,
    ("user", "suspended"): set(),
    ("user", "deactivated"): set(),
}
PAIRS = [pair for kind in KINDS for pair in product(kind, kind) if pair[0] != pair[1]]


@pytest.mark.parametrize(("current", "target"), PAIRS, ids=lambda s: f"{ENTITY_OF[type(s)]}-{s}")
def test_only_transitions_in_specification_are_allowed(current: State, target: State) -> None:
    entity = ENTITY_OF[type(current)]
    if (entity, current, target) in ALLOWED:
        assert move(current, target)  # type: ignore[type-var]
        return
    with pytest.raises(InvalidState) as caught:
        move(current, target)  # type: ignore[type-var]
    fields = caught.value.fields
    assert (fields["entity"], fields["state"]) == (entity, current)
    assert {(entity, current, s) for s in fields["allowed"]} == {
        a for a in ALLOWED if a[:2] == (entity, current)
    }


@pytest.mark.parametrize("state", [state for kind in KINDS for state in kind])
def test_transition_to_same_state_is_noop(state: State) -> None:
    assert move(state, state) is False  # type: ignore[type-var]


@pytest.mark.parametrize("table", [MOVES, PERMITTED], ids=["moves", "permitted"])
def test_tables_cover_every_state(table: dict[type[State], dict[State, object]]) -> None:
    assert {kind: set(rows) for kind, rows in table.items()} == {kind: set(kind) for kind in KINDS}


@pytest.mark.parametrize(("entity", "state"), LETS_THROUGH)
def test_access_permitted_by_state_matches_specification(entity: str, state: str) -> None:
    kind = next(kind for kind, name in ENTITY_OF.items() if name == entity)
    assert PERMITTED[kind][kind(state)] == LETS_THROUGH[entity, state]


def test_specification_table_covers_every_state() -> None:
    assert set(LETS_THROUGH) == {(ENTITY_OF[kind], state.value) for kind in KINDS for state in kind}


def test_access_requires_every_state_on_path() -> None:
    path = (TenantStatus.ACTIVE, DatabaseState.MIGRATING, CollectionState.READY)
    require(Access.DOCUMENT_READ, *path)
    with pytest.raises(InvalidState) as caught:
        require(Access.DOCUMENT_WRITE, *path)
    assert caught.value.fields == {
        "entity": "database",
        "state": "migrating",
        "operation": "document_write",
        "allowed": ["audit_read", "document_read", "metadata_read"],
    }


def test_error_names_entity_when_state_names_are_equal() -> None:
    """`provisioning` of a tenant forbids documents as that of a database does, and each is named."""
    with pytest.raises(InvalidState) as caught:
        require(Access.DOCUMENT_READ, TenantStatus.ACTIVE, DatabaseState.PROVISIONING)
    assert caught.value.fields["entity"] == "database"
    with pytest.raises(InvalidState) as caught:
        require(Access.DOCUMENT_READ, TenantStatus.PROVISIONING, DatabaseState.READY)
    assert caught.value.fields["entity"] == "tenant"
