"""What can be asked about the stores themselves; a part of `akidb.ports.operations`."""

from typing import Protocol

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


class UpkeepOperations(Protocol):
    """Looking at the stores, and keeping them in order."""

    def doctor(self) -> list[Finding]:
        """Look at every store, also while others work: files, counters, what crosses between stores."""
        ...

    def maintain(self) -> MaintenanceReport:
        """Purge what is past its retention, and finish what a crash left.

        Every process that keeps a store open for long does so by itself, once a minute.
        """
        ...
