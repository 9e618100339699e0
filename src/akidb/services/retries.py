"""Retries of transactions that the database aborted: deadlocks and serialization failures.

An aborted transaction has changed nothing, so it is safe to retry.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from akidb.observe import telemetry
from akidb.observe.telemetry import StoreKind
from akidb.ports.conflicts import TransactionConflict

T = TypeVar("T")

MAX_ATTEMPTS = 8
FIRST_PAUSE_SECONDS = 0.005
"""Mean pause after the first conflict; it doubles with each one, so that the last pause is 0.3 s."""


def retried(work: Callable[[], T], store: StoreKind) -> T:
    """Return the result of `work`, which must be one transaction or idempotent.

    Raises TransactionConflict after `MAX_ATTEMPTS` conflicts.
    """
    for attempt in range(MAX_ATTEMPTS - 1):
        try:
            return work()
        except TransactionConflict:
            telemetry.count("retries", store)
            # Jitter, so that the conflicting transactions do not collide again.
            time.sleep(random.uniform(0, 2 * FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311
    return work()
