"""Rate limiting by `qps_quota`: a token bucket per tenant, with a burst of one second.

Callers that may wait take their tokens in advance and then sleep until these are due, so they take turns in
the order of their calls.
"""

import threading
from collections.abc import Callable

from akidb.domain.entities import Tenant
from akidb.domain.errors import RateLimited, Unavailable
from akidb.domain.ids import TenantId
from akidb.observe.interrupts import Interruptible

ROUNDING = 1e-6
"""Tolerance in tokens: sums of fractions of a second may come out as 0.9999999."""


class _Bucket:
    """Tokens left at a point in time."""

    __slots__ = ("excess", "seconds", "tokens")

    def __init__(self, tokens: float, seconds: float) -> None:
        self.tokens = tokens
        self.seconds = seconds
        self.excess = 0
        """What operations of more tokens than the burst took beyond it, while tokens are owed."""


class RateLimiter:
    """Takes a token for each operation, or for each of its parts that count like one.

    `monotonic` returns the seconds of a monotonic clock.
    """

    def __init__(self, monotonic: Callable[[], float], *, wait_seconds: float = 0.0) -> None:
        """Let callers wait up to `wait_seconds` for a token; 0 refuses at once."""
        self._monotonic = monotonic
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._buckets: dict[TenantId, _Bucket] = {}
        self._stopped = threading.Event()
        self._reason = ""

    def take(self, tenant: Tenant, tokens: int = 1) -> None:
        """Take tokens, if necessary by waiting for them.

        A request for more than the burst needs a full bucket, and leaves it negative.
        Raises RateLimited if it would be due after `wait_seconds`, Unavailable if the limiter is stopped
        while the caller waits. A quota of 0 refuses everything, one of None nothing.
        """
        rate = tenant.qps_quota
        if rate is None:
            return
        if rate == 0:
            raise RateLimited(rate, retry_after_seconds=1.0)
        due = self._reserve(tenant.tenant_id, rate, tokens)
        if due > 0:
            with Interruptible():
                if self._stopped.wait(due):
                    raise Unavailable(self._reason)

    def _reserve(self, tenant_id: TenantId, rate: int, tokens: int) -> float:
        """Take tokens, and return in how many seconds they are due."""
        needed = min(tokens, rate)
        with self._lock:
            now = self._monotonic()
            bucket = self._buckets.get(tenant_id)
            if bucket is None:
                bucket = self._buckets[tenant_id] = _Bucket(rate, now)
            left = min(rate, bucket.tokens + (now - bucket.seconds) * rate)
            left = max(left, -rate * self._wait_seconds - bucket.excess)  # owed at an earlier, higher rate
            if left >= 0:
                bucket.excess = 0
            bucket.tokens, bucket.seconds = left, now
            if left >= needed - ROUNDING:
                bucket.tokens = max(left, needed) - tokens
                bucket.excess += tokens - needed
                return 0.0
            due = (needed - left) / rate
            if due > self._wait_seconds:
                raise RateLimited(rate, retry_after_seconds=due)
            bucket.tokens = left - tokens
            bucket.excess += tokens - needed
            return due

    def stop(self, reason: str) -> None:
        """Wake the callers that wait; they raise Unavailable."""
        self._reason = reason
        self._stopped.set()

    def forget(self, tenant_id: TenantId) -> None:
        """Drop the bucket of a purged tenant."""
        with self._lock:
            self._buckets.pop(tenant_id, None)
