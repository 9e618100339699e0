"""Audit entries of denied passwords: one for each at first, then one with the count of those that follow.

Audit entries are permanent, and a client can send many wrong passwords. In each minute, the first failures
of a tenant have an entry each, written before the response. Those that follow are counted by user, and the
counts are written in the next round of maintenance, or on closing; a killed process loses only these. What is
written depends on the tenant alone, so that no response time tells whether an email is known.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable

from akidb.domain.entities import AuditResult
from akidb.domain.errors import AkiDBError
from akidb.domain.ids import EntityId, TenantId
from akidb.observe.logs import logger
from akidb.services.transactions import Change, Transactions

ACTION = "user.verify_password"
WINDOW_SECONDS = 60.0
ENTRIES_PER_WINDOW = 16

_logger = logger("akidb.services")


class _Window:
    """The entries of one tenant since the window began."""

    __slots__ = ("ends", "written")

    def __init__(self, ends: float) -> None:
        self.ends = ends
        self.written = 0


class Denials:
    """Decides which failures have an entry of their own, and writes the counts of the others."""

    def __init__(
        self, transactions: Transactions, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._transactions = transactions
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._windows: dict[TenantId, _Window] = {}
        self._counts: Counter[tuple[TenantId, EntityId]] = Counter()

    def count(self, tenant_id: TenantId, resource: EntityId) -> bool:
        """Count a failure for the user, or for the tenant if the email is unknown.

        Return False, without counting, if it must have an entry of its own.
        """
        with self._lock:
            now = self._monotonic()
            window = self._windows.get(tenant_id)
            if window is None or now >= window.ends:
                window = self._windows[tenant_id] = _Window(now + WINDOW_SECONDS)
            if window.written < ENTRIES_PER_WINDOW:
                window.written += 1
                return False
            self._counts[tenant_id, resource] += 1
            return True

    def flush(self) -> None:
        """Write what was counted. What cannot be written now is written the next time."""
        with self._lock:
            now = self._monotonic()
            self._windows = {each: w for each, w in self._windows.items() if now < w.ends}
            counts, self._counts = self._counts, Counter()
        if not counts:
            return

        def effect(change: Change) -> None:
            for (tenant_id, resource), count in counts.items():
                change.audit(
                    ACTION, tenant_id, resource, result=AuditResult.DENIED, metadata={"count": count}
                )

        try:
            self._transactions.run(None, type(None), effect)
        except AkiDBError as error:
            _logger.warning("counts of denied passwords were not written: %s", type(error).__name__)
            with self._lock:
                self._counts.update(counts)
