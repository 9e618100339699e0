"""The token bucket of `qps_quota`, with a clock set by the test."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from akidb.domain.entities import Tenant
from akidb.domain.errors import RateLimited
from akidb.domain.ids import TenantId
from akidb.services.rate import RateLimiter

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
AKI = Tenant(
    tenant_id=TenantId(b"\1" * 16), name="A", slug="a", qps_quota=10, created_at=NOON, updated_at=NOON
)
BEA = replace(AKI, tenant_id=TenantId(b"\2" * 16), slug="b")


class Clock:
    """Seconds that the test sets."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter(clock)


def take_all(limiter: RateLimiter, tenant: Tenant) -> int:
    """How many operations are let through now."""
    taken = 0
    while True:
        try:
            limiter.take(tenant)
        except RateLimited:
            return taken
        taken += 1


def test_burst_of_one_second_is_allowed(limiter: RateLimiter) -> None:
    assert take_all(limiter, AKI) == 10


def test_tokens_refill_up_to_one_second_of_quota(limiter: RateLimiter, clock: Clock) -> None:
    take_all(limiter, AKI)
    clock.seconds += 0.25
    assert take_all(limiter, AKI) == 2
    clock.seconds += 0.0625
    assert take_all(limiter, AKI) == 1  # with what was left of the quarter second
    clock.seconds += 3600
    assert take_all(limiter, AKI) == 10


def test_long_term_rate_equals_quota(limiter: RateLimiter, clock: Clock) -> None:
    taken = 0
    for _ in range(1000):
        clock.seconds += 0.03125
        taken += take_all(limiter, AKI)
    assert 312 <= taken <= 312 + 10


def test_rate_limited_error_has_retry_after(limiter: RateLimiter, clock: Clock) -> None:
    take_all(limiter, AKI)
    with pytest.raises(RateLimited) as caught:
        limiter.take(AKI)
    assert caught.value.fields == {"limit": 10}
    assert caught.value.retry_after_seconds == pytest.approx(0.1)
    clock.seconds += caught.value.retry_after_seconds + 1e-9
    limiter.take(AKI)


def test_tenants_have_separate_buckets(limiter: RateLimiter) -> None:
    assert take_all(limiter, AKI) == 10
    assert take_all(limiter, BEA) == 10


def test_zero_quota_allows_nothing(limiter: RateLimiter) -> None:
    assert take_all(limiter, replace(AKI, qps_quota=0)) == 0


def test_quota_change_takes_effect_immediately(limiter: RateLimiter, clock: Clock) -> None:
    take_all(limiter, AKI)
    clock.seconds += 0.1
    assert take_all(limiter, replace(AKI, qps_quota=100)) == 10
    clock.seconds += 1
    assert take_all(limiter, replace(AKI, qps_quota=3)) == 3


def test_forgotten_tenant_gets_full_bucket(limiter: RateLimiter) -> None:
    take_all(limiter, AKI)
    limiter.forget(AKI.tenant_id)
    limiter.forget(BEA.tenant_id)
    assert take_all(limiter, AKI) == 10
