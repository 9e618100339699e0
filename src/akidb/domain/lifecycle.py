"""States, the moves between them, and the published table of what each state permits.

Services call `move` before they change a state and `require` before an operation; the documentation and
`akidb doctor --states` print the same tables.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from akidb.domain.errors import InvalidState


class TenantStatus(StrEnum):
    """The status of a tenant."""

    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DECOMMISSIONED = "decommissioned"


class DatabaseState(StrEnum):
    """The state of a database."""

    PROVISIONING = "provisioning"
    READY = "ready"
    MIGRATING = "migrating"
    DELETING = "deleting"


class CollectionState(StrEnum):
    """The state of a collection."""

    CREATING = "creating"
    READY = "ready"
    DELETING = "deleting"


class UserStatus(StrEnum):
    """The status of a user."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"


class Access(StrEnum):
    """The kinds of access that a state may forbid."""

    METADATA_READ = "metadata_read"
    METADATA_WRITE = "metadata_write"
    DOCUMENT_READ = "document_read"
    DOCUMENT_WRITE = "document_write"
    AUDIT_READ = "audit_read"


State = TenantStatus | DatabaseState | CollectionState | UserStatus
StateT = TypeVar("StateT", TenantStatus, DatabaseState, CollectionState, UserStatus)

# The tables are keyed by entity: states are strings, so `ready` of a database equals `ready` of a collection.
MOVES: Mapping[type[State], Mapping[State, tuple[State, ...]]] = {
    TenantStatus: {
        TenantStatus.PROVISIONING: (TenantStatus.ACTIVE, TenantStatus.DECOMMISSIONED),
        TenantStatus.ACTIVE: (TenantStatus.SUSPENDED, TenantStatus.DECOMMISSIONED),
        TenantStatus.SUSPENDED: (TenantStatus.ACTIVE, TenantStatus.DECOMMISSIONED),
        TenantStatus.DECOMMISSIONED: (),
    },
    DatabaseState: {
        DatabaseState.PROVISIONING: (DatabaseState.READY, DatabaseState.DELETING),
        DatabaseState.READY: (DatabaseState.MIGRATING, DatabaseState.DELETING),
        DatabaseState.MIGRATING: (DatabaseState.READY, DatabaseState.DELETING),
        DatabaseState.DELETING: (),
    },
    CollectionState: {
        CollectionState.CREATING: (CollectionState.READY,),
        CollectionState.READY: (CollectionState.DELETING,),
        CollectionState.DELETING: (),
    },
    UserStatus: {
        UserStatus.ACTIVE: (UserStatus.SUSPENDED, UserStatus.DEACTIVATED),
        UserStatus.SUSPENDED: (UserStatus.ACTIVE, UserStatus.DEACTIVATED),
        UserStatus.DEACTIVATED: (UserStatus.ACTIVE,),
    },
}
"""The moves allowed from each state; only `restore` leaves a deleted state."""

_ALL = frozenset(Access)
_METADATA = frozenset({Access.METADATA_READ, Access.METADATA_WRITE, Access.AUDIT_READ})
_READ_METADATA = frozenset({Access.METADATA_READ, Access.AUDIT_READ})

PERMITTED: Mapping[type[State], Mapping[State, frozenset[Access]]] = {
    TenantStatus: {
        TenantStatus.PROVISIONING: _METADATA,
        TenantStatus.ACTIVE: _ALL,
        TenantStatus.SUSPENDED: _READ_METADATA,
        TenantStatus.DECOMMISSIONED: frozenset(),
    },
    DatabaseState: {
        DatabaseState.PROVISIONING: _METADATA,
        DatabaseState.READY: _ALL,
        DatabaseState.MIGRATING: _READ_METADATA | {Access.DOCUMENT_READ},
        DatabaseState.DELETING: frozenset(),
    },
    CollectionState: {
        CollectionState.CREATING: _READ_METADATA,
        CollectionState.READY: _ALL,
        CollectionState.DELETING: frozenset(),
    },
    UserStatus: {
        UserStatus.ACTIVE: _ALL,
        UserStatus.SUSPENDED: frozenset(),
        UserStatus.DEACTIVATED: frozenset(),
    },
}
"""What each state permits. An operation must be permitted by all states on its path.

A user's status governs operations by the user; operations on the user depend on the tenant's status.
"""

ENTITY_OF: Mapping[type[State], str] = {
    TenantStatus: "tenant",
    DatabaseState: "database",
    CollectionState: "collection",
    UserStatus: "user",
}


def move(current: StateT, target: StateT) -> bool:
    """Return whether a move from `current` to `target` changes the state.

    Raises InvalidState if the move is not allowed.
    """
    if current == target:
        return False
    kind = type(current)
    allowed = MOVES[kind][current]
    if target not in allowed:
        raise InvalidState(ENTITY_OF[kind], current, f"a move to {target}", allowed)
    return True


def require(operation: Access, *states: State) -> None:
    """Raise InvalidState if one of the states on the path forbids the operation."""
    forbidding = _forbidding(operation, *states)
    if forbidding is not None:
        kind = type(forbidding)
        raise InvalidState(ENTITY_OF[kind], forbidding, operation, sorted(PERMITTED[kind][forbidding]))


@lru_cache(typed=True)  # states are strings, which are equal if they are of different entities
def _forbidding(operation: Access, *states: State) -> State | None:
    for state in states:
        if operation not in PERMITTED[type(state)][state]:
            return state
    return None
