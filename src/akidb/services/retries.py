"""Runs again what the database gave up for another transaction: a deadlock, a serialization failure.

Such a transaction has changed nothing, so running it again is what the caller would do.
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
"""The mean of the pause after the first conflict; it doubles with each, so that the last wait is 0.3 s."""


def retried(work: Callable[[], T], store: StoreKind) -> T:
    """What `work` gives, which is one transaction, or does nothing twice.

    Raises TransactionConflict after `MAX_ATTEMPTS` conflicts.
    """
    for attempt in range(MAX_ATTEMPTS - 1):
        try:
            return work()
        except TransactionConflict:
            telemetry.count("retries", store)
            # At random, so that those who clashed do not clash again.
            time.sleep(random.uniform(0, 2 * FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311
    return work()
