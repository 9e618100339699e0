"""Rate limiting by `qps_quota`: a token bucket per tenant, with a burst of one second."""

import threading
from collections.abc import Callable

from akidb.domain.entities import Tenant
from akidb.domain.errors import RateLimited
from akidb.domain.ids import TenantId

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

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._buckets: dict[TenantId, _Bucket] = {}

    def take(self, tenant: Tenant) -> None:
        """Take a token. Raises RateLimited if the bucket is empty; a quota of 0 rejects everything."""
        rate = tenant.qps_quota
        if rate == 0:
            raise RateLimited(rate, retry_after_seconds=1.0)
        with self._lock:
            now = self._monotonic()
            bucket = self._buckets.get(tenant.tenant_id)
            if bucket is None:
                bucket = self._buckets[tenant.tenant_id] = _Bucket(rate, now)
            bucket.tokens = min(rate, bucket.tokens + (now - bucket.seconds) * rate)
            bucket.seconds = now
            if bucket.tokens < 1 - ROUNDING:
                raise RateLimited(rate, retry_after_seconds=(1 - bucket.tokens) / rate)
            bucket.tokens = max(bucket.tokens - 1, 0.0)

    def forget(self, tenant_id: TenantId) -> None:
        """Drop the bucket of a purged tenant."""
        with self._lock:
            self._buckets.pop(tenant_id, None)
