"""The token bucket of `qps_quota`, with a clock set by the test."""

import threading
from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from akidb.domain.entities import Tenant
from akidb.domain.errors import RateLimited, Unavailable
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


def test_no_quota_allows_everything(limiter: RateLimiter) -> None:
    for _ in range(10_000):
        limiter.take(replace(AKI, qps_quota=None))


class Sleeps:
    """The event of a limiter: waiting for it lets the clock run on, and is noted."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.waited: list[float] = []
        self.is_set = False

    def wait(self, seconds: float) -> bool:
        self.waited.append(seconds)
        return self.is_set

    def set(self) -> None:
        self.is_set = True


@pytest.fixture
def sleeps(clock: Clock) -> Sleeps:
    return Sleeps(clock)


@pytest.fixture
def patient(clock: Clock, sleeps: Sleeps, monkeypatch: pytest.MonkeyPatch) -> RateLimiter:
    limiter = RateLimiter(clock, wait_seconds=2)
    monkeypatch.setattr(limiter, "_stopped", sleeps)
    return limiter


def test_callers_wait_in_the_order_of_their_calls(patient: RateLimiter, clock: Clock, sleeps: Sleeps) -> None:
    for _ in range(13):  # at the same moment, as by 13 threads
        patient.take(AKI)
    assert sleeps.waited == pytest.approx([0.1, 0.2, 0.3])
    clock.seconds += 0.3  # their three tokens became due
    patient.take(AKI)
    assert sleeps.waited[3:] == pytest.approx([0.1])


def test_caller_is_refused_who_would_wait_too_long(
    patient: RateLimiter, clock: Clock, sleeps: Sleeps
) -> None:
    assert take_all(patient, AKI) == 10 + 20
    with pytest.raises(RateLimited) as caught:
        patient.take(AKI)
    assert caught.value.retry_after_seconds == pytest.approx(2.1)
    assert len(sleeps.waited) == 20  # the refused ones did not wait, and took nothing
    clock.seconds += 0.1
    patient.take(AKI)
    assert sleeps.waited[-1] == pytest.approx(2)


def test_waiting_keeps_the_rate(patient: RateLimiter, clock: Clock, sleeps: Sleeps) -> None:
    started = clock.seconds
    for _ in range(1_000):
        patient.take(AKI)
        clock.seconds += sleeps.waited.pop() if sleeps.waited else 0
    assert clock.seconds - started == pytest.approx((1_000 - 10) / 10, abs=0.2)


def test_lower_quota_does_not_wait_for_what_a_higher_one_owes(patient: RateLimiter, sleeps: Sleeps) -> None:
    take_all(patient, replace(AKI, qps_quota=1_000))
    with pytest.raises(RateLimited) as caught:
        patient.take(replace(AKI, qps_quota=1))
    assert caught.value.retry_after_seconds == pytest.approx(3)


def test_zero_quota_is_refused_without_waiting(patient: RateLimiter, sleeps: Sleeps) -> None:
    assert take_all(patient, replace(AKI, qps_quota=0)) == 0
    assert not sleeps.waited


def test_stopped_limiter_wakes_who_waits(clock: Clock) -> None:
    limiter = RateLimiter(clock, wait_seconds=3600)
    for _ in range(10):
        limiter.take(AKI)
    refused: list[Exception] = []

    def wait() -> None:
        try:
            limiter.take(AKI)
        except Unavailable as error:
            refused.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    limiter.stop("the connection is closed")
    waiter.join(30)
    assert [str(error) for error in refused] == ["the connection is closed"]


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


def test_operation_of_more_tokens_than_the_burst_is_owed_by_the_next(
    limiter: RateLimiter, clock: Clock
) -> None:
    limiter.take(AKI, 35)
    for due in (2.6, 1.6):
        with pytest.raises(RateLimited) as caught:
            limiter.take(AKI)
        assert caught.value.retry_after_seconds == pytest.approx(due)
        clock.seconds += 1
    clock.seconds += 0.6
    limiter.take(AKI)
    with pytest.raises(RateLimited):  # it needs a full bucket
        limiter.take(AKI, 35)
    clock.seconds += 1
    limiter.take(AKI, 35)


def test_many_tokens_are_waited_for(patient: RateLimiter, clock: Clock, sleeps: Sleeps) -> None:
    started = clock.seconds
    for _ in range(100):
        patient.take(AKI, 15)
        clock.seconds += sleeps.waited.pop() if sleeps.waited else 0
    assert clock.seconds - started == pytest.approx(100 * 15 / 10, abs=3)
    patient.take(AKI, 500)
    with pytest.raises(RateLimited):
        patient.take(AKI)
