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

    __slots__ = ("seconds", "tokens")

    def __init__(self, tokens: float, seconds: float) -> None:
        self.tokens = tokens
        self.seconds = seconds


class RateLimiter:
    """Takes one token per operation; `monotonic` returns the seconds of a monotonic clock."""

    def __init__(self, monotonic: Callable[[], float], *, wait_seconds: float = 0.0) -> None:
        """Let callers wait up to `wait_seconds` for a token; 0 refuses at once."""
        self._monotonic = monotonic
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._buckets: dict[TenantId, _Bucket] = {}
        self._stopped = threading.Event()
        self._reason = ""

    def take(self, tenant: Tenant) -> None:
        """Take a token, if necessary by waiting for it.

        Raises RateLimited if it would be due after `wait_seconds`, Unavailable if the limiter is stopped
        while the caller waits. A quota of 0 refuses everything, one of None nothing.
        """
        rate = tenant.qps_quota
        if rate is None:
            return
        if rate == 0:
            raise RateLimited(rate, retry_after_seconds=1.0)
        due = self._reserve(tenant.tenant_id, rate)
        if due > 0:
            with Interruptible():
                if self._stopped.wait(due):
                    raise Unavailable(self._reason)

    def _reserve(self, tenant_id: TenantId, rate: int) -> float:
        """Take a token, and return in how many seconds it is due."""
        with self._lock:
            now = self._monotonic()
            bucket = self._buckets.get(tenant_id)
            if bucket is None:
                bucket = self._buckets[tenant_id] = _Bucket(rate, now)
            left = min(rate, bucket.tokens + (now - bucket.seconds) * rate)
            left = max(left, -rate * self._wait_seconds)  # owed at an earlier, higher rate
            bucket.tokens, bucket.seconds = left, now
            if left >= 1 - ROUNDING:
                bucket.tokens = max(left - 1, 0.0)
                return 0.0
            due = (1 - left) / rate
            if due > self._wait_seconds:
                raise RateLimited(rate, retry_after_seconds=due)
            bucket.tokens = left - 1
            return due

    def stop(self, reason: str) -> None:
        """Wake the callers that wait; they raise Unavailable."""
        self._reason = reason
        self._stopped.set()

    def forget(self, tenant_id: TenantId) -> None:
        """Drop the bucket of a purged tenant."""
        with self._lock:
            self._buckets.pop(tenant_id, None)
