"""Checks and maintenance of the stores themselves."""

from akidb.domain.documents import Page
from akidb.domain.upkeep import Finding, MaintenanceReport
from akidb.operations.declare import Request, operation


@operation("store.check", "GET", "/v1/doctor")
class CheckStores(Request[Page[Finding]], kw_only=True, frozen=True):
    """Check every store while others work: files, counters, what crosses between stores."""


@operation("store.maintain", "POST", "/v1/maintenance", changes=False, slow=True)
class MaintainStores(Request[MaintenanceReport], kw_only=True, frozen=True):
    """Purge what is past its retention, and finish what a crash left.

    A server does so by itself, once a minute.
    """
