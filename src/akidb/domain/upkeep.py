"""Reports on the stores: results of `doctor` checks and of rounds of maintenance."""

import msgspec


class Finding(msgspec.Struct, kw_only=True, frozen=True):
    """The result of one check by `doctor`."""

    store: str
    """`metadata`, or the ID of the tenant whose store it is."""
    check: str
    """The name of the check, such as `integrity`."""
    ok: bool
    detail: str
    """The problem, or what was found."""
    checked: bool = True
    """False if the check could not be made, because another one failed: `ok` is False too then."""


class MaintenanceReport(msgspec.Struct, kw_only=True, frozen=True):
    """The result of a round of maintenance."""

    tenants_purged: int
    """Deleted tenants past their retention; likewise the next two."""
    databases_purged: int
    collections_purged: int
    stores_settled: int
    """Stores whose pending outbox entries were applied."""
    copies_removed: int
    """Copies made before a schema migration of a store, past the retention."""
    traces_remain: bool
    """Whether a long read still prevents purged data from being erased from the files."""
    problems: list[str]
    """What failed; the next round retries it."""
    waiting: str | None = None
    """Why data whose retention has passed by the clock was not purged yet: the clock jumped. Else None."""
