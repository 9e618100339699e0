"""Checks and maintenance of the stores."""

from akidb.domain.documents import Page
from akidb.domain.upkeep import Finding, MaintenanceReport
from akidb.operations.declare import Request, Work, operation


@operation("store.check", "GET", "/v1/doctor", work=Work.HEAVY)
class CheckStores(Request[Page[Finding]], kw_only=True, frozen=True):
    """Check every store while it is in use: files, counters, consistency between stores."""


@operation("store.maintain", "POST", "/v1/maintenance", changes=False, work=Work.HEAVY)
class MaintainStores(Request[MaintenanceReport], kw_only=True, frozen=True):
    """Purge deleted entities past their retention, and complete work that a crash interrupted.

    A server does this automatically once a minute.
    """
