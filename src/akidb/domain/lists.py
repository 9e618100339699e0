"""Sort orders of lists of tenants."""

from enum import StrEnum


class TenantSort(StrEnum):
    """The sort order of a list of tenants; a minus sorts in descending order. Ties are sorted by ID."""

    CREATED_AT = "created_at"
    CREATED_AT_DESCENDING = "-created_at"
    UPDATED_AT = "updated_at"
    UPDATED_AT_DESCENDING = "-updated_at"
    NAME = "name"
    NAME_DESCENDING = "-name"
    SLUG = "slug"
    SLUG_DESCENDING = "-slug"

    @property
    def field(self) -> str:
        """The field of the tenant to sort by."""
        return self.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        """Whether the order is descending."""
        return self.startswith("-")
