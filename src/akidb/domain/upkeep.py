"""Reports on the stores themselves: what `doctor` checked, what a round of maintenance did."""

import msgspec


class Finding(msgspec.Struct, kw_only=True, frozen=True):
    """One thing that `doctor` looked at."""

    store: str
    """`metadata`, or the ID of the tenant whose store it is."""
    check: str
    """What was looked at, such as `integrity`."""
    ok: bool
    detail: str
    """What is wrong, or what was found."""


class MaintenanceReport(msgspec.Struct, kw_only=True, frozen=True):
    """What a round of maintenance did."""

    tenants_purged: int
    """Past their retention, as the next two are."""
    databases_purged: int
    collections_purged: int
    stores_settled: int
    """Told what a process that ended did not tell them any more."""
    copies_removed: int
    """Taken before a migration of a store's schema, and past the retention."""
    traces_remain: bool
    """Whether a long read still keeps the files from being cleared of what was purged."""
    problems: list[str]
    """What could not be done; the next round tries again."""
