"""In which order tenants are listed."""

from enum import StrEnum


class TenantSort(StrEnum):
    """What a list of tenants is sorted by; a minus begins the last. Equal ones come in the order of IDs."""

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
        """The field of the tenant."""
        return self.removeprefix("-")

    @property
    def is_descending(self) -> bool:
        """Whether the last comes first."""
        return self.startswith("-")
