"""Retries of transactions that the database aborted, and of work whose connection was lost.

An aborted transaction has changed nothing, so it is safe to retry.
"""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from akidb.observe import telemetry
from akidb.observe.telemetry import StoreKind
from akidb.ports.conflicts import ConnectionLost, TransactionConflict
from akidb.ports.metadata import MetadataStore, MetadataTransaction

T = TypeVar("T")

MAX_ATTEMPTS = 8
MAX_LOSSES = 4
"""More than there are pools of connections: after a loss its pool opens new ones, so that a further loss
means that the database is down."""
FIRST_PAUSE_SECONDS = 0.005
"""Mean pause after the first conflict; it doubles with each one, so that the last pause is 0.3 s."""


def retried(work: Callable[[], T], store: StoreKind) -> T:
    """Return the result of `work`, which must be one transaction or idempotent.

    Raises TransactionConflict after `MAX_ATTEMPTS` conflicts, ConnectionLost after `MAX_LOSSES`.
    """
    conflicts, lost = 0, 0
    while True:
        try:
            return work()
        except ConnectionLost:
            lost += 1
            if lost == MAX_LOSSES:
                raise
        except TransactionConflict:
            conflicts += 1
            if conflicts == MAX_ATTEMPTS:
                raise
            # Jitter, so that the conflicting transactions do not collide again.
            time.sleep(random.uniform(0, 2 * FIRST_PAUSE_SECONDS * 2 ** (conflicts - 1)))  # noqa: S311
        telemetry.count("retries", store)


def read_again(read: Callable[[], T], store: StoreKind) -> T:
    """Return the result of `read`, which changes nothing, repeated if its connection was lost."""
    for _ in range(MAX_LOSSES - 1):
        try:
            return read()
        except ConnectionLost:
            telemetry.count("retries", store)
    return read()


def read_metadata(metadata: MetadataStore, read: Callable[[MetadataTransaction], T]) -> T:
    """Return the result of `read` in a read transaction, repeated if its connection was lost."""

    def attempt() -> T:
        with metadata.read() as tx:
            return read(tx)

    return read_again(attempt, "metadata")
