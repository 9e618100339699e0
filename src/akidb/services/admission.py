"""Who may start an operation: all until the runtime closes, and then none."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from akidb.domain.errors import Unavailable
from akidb.observe.operations import Running

P = ParamSpec("P")
R = TypeVar("R")


class Admission:
    """Counts what runs, so that closing can wait for it."""

    def __init__(self, *, slow_operation_seconds: float = 0.0) -> None:
        """Have what takes as long logged; 0: nothing is."""
        self.slow_operation_seconds = slow_operation_seconds
        self._changed = threading.Condition(threading.Lock())
        self._running = 0
        self._refusal: str | None = None

    def __enter__(self) -> None:
        with self._changed:
            if self._refusal is not None:
                raise Unavailable(self._refusal)
            self._running += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._running -= 1
            if self._running == 0:
                self._changed.notify_all()

    def refuse(self, reason: str) -> None:
        """Let nothing new begin."""
        self._refusal = self._refusal or reason

    def abandon(self, reason: str) -> None:
        """Let nothing new begin in a forked child, whatever its parent's threads held."""
        self._changed = threading.Condition(threading.Lock())
        self._refusal = reason

    def drain(self, reason: str) -> None:
        """Let nothing new begin, and wait until what runs has ended."""
        with self._changed:
            self.refuse(reason)
            self._changed.wait_for(lambda: self._running == 0)


class _Admitted(Protocol):
    @property
    def admission(self) -> Admission: ...


S = TypeVar("S", bound=_Admitted)


def operation(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Make a method one that is admitted, observed (as in `tenant.create`) and waited for."""
    service, _, verb = method.__qualname__.rpartition(".")
    name = f"{service.removesuffix('Service').lower()}.{verb}"

    @wraps(method)
    def admitted(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Any:
        with self.admission, Running(name, self.admission.slow_operation_seconds):
            return method(self, *args, **kwargs)

    return admitted
