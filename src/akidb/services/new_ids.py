"""Rows of a tenant under new IDs, for a copy and for an import beside, or after, the original."""

from typing import Any

from msgspec.structs import replace

from akidb.domain.ids import EntityId, IdGenerator


class NewIds:
    """Assigns a new ID to each one that it meets, and always the same one."""

    def __init__(self, ids: IdGenerator) -> None:
        self._ids = ids
        self._new: dict[EntityId, EntityId] = {}

    def knows(self, id: EntityId) -> bool:
        """Return whether this ID was met before."""
        return id in self._new

    def of(self, id: EntityId) -> EntityId:
        """Return the new ID, of the same kind."""
        new = self._new.get(id)
        if new is None:
            new = self._new[id] = self._ids.new(type(id))
        return new

    def renewed(self, row: Any, **changes: object) -> Any:
        """Return the row with a new ID in place of each, and with other changes."""
        values = ((name, getattr(row, name)) for name in row.__struct_fields__)
        new = {name: self.of(value) for name, value in values if isinstance(value, EntityId)}
        return replace(row, **new, **changes)
