"""Waiting for one's turn in long work of many calls."""

import time
from collections.abc import Callable
from typing import TypeVar

from akidb.domain.errors import Overloaded, RateLimited

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
MIN_PAUSE_SECONDS = 0.01


def patiently(call: Callable[[], T]) -> T:
    """Retry a call that is rate-limited or refused for overload, after the delay that the error names.

    Raises the error if it persists for a minute, or if the limit is 0. A refused call has no effect.
    """
    began = time.monotonic()
    while True:
        try:
            return call()
        except (RateLimited, Overloaded) as error:
            if error.fields.get("limit") == 0 or time.monotonic() - began > PATIENCE_SECONDS:
                raise
            time.sleep(max(error.retry_after_seconds, MIN_PAUSE_SECONDS))
