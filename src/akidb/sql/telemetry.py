"""Reports the calls of repositories without instrumenting them.

`observed` wraps a repository in a proxy, and only while there are listeners. Calls within a repository are
not reported: only the calls of the services are.
"""

import inspect
from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any, TypeVar

from akidb.domain.errors import AkiDBError
from akidb.observe import telemetry
from akidb.observe.telemetry import OK, Call, StoreKind
from akidb.sql.errors import translated

T = TypeVar("T")


def observed(store: StoreKind, repository: str, target: T, system: str) -> T:
    """Return the repository, wrapped to report its calls if there are listeners.

    Context managers and iterators that it returns are not timed. Its remembered answers are wrapped as a
    repository too.
    """
    if not telemetry.listeners:
        return target
    kind: Any = type(target)
    proxy: T = _proxy_of(kind, store, repository, system)(target)
    return proxy


class ObservedTransaction:
    """A transaction whose repositories are observed; only used while there are listeners."""

    def __init__(self, store: StoreKind, target: Any, system: str) -> None:
        self._store = store
        self._target = target
        self._system = system

    def __getattr__(self, name: str) -> Any:
        repository = observed(self._store, name, getattr(self._target, name), self._system)
        self.__dict__[name] = repository  # cached for later accesses
        return repository


def observed_transaction(store: StoreKind, target: T, system: str) -> T:
    """Return the transaction, with its repositories observed if there are listeners."""
    if not telemetry.listeners:
        return target
    proxy: Any = ObservedTransaction(store, target, system)
    found: T = proxy
    return found


def report(call: Call, started: float, error: BaseException | None = None) -> None:
    """Report a call that started at `started` (`perf_counter`) and has just returned or raised."""
    seconds = perf_counter() - started
    code = OK if error is None else code_of(error)
    for listener in telemetry.listeners:
        listener.called(call, seconds, code)


def commit(driver: Any, call: Call) -> None:
    """Run COMMIT, and report it as this call."""
    if not telemetry.listeners:
        driver.execute("COMMIT")
        return
    started = perf_counter()
    try:
        driver.execute("COMMIT")
    except BaseException as error:
        report(call, started, error)
        raise
    report(call, started)


def code_of(error: BaseException) -> str:
    """Return the code of a domain error, or of the domain error that an error translates to."""
    if isinstance(error, AkiDBError):
        return error.code
    try:
        with translated(""):
            raise error
    except AkiDBError as translation:
        return translation.code
    except BaseException:  # noqa: BLE001 - only classified here; the caller re-raises the original
        return "internal"


@cache
def _proxy_of(kind: Any, store: StoreKind, repository: str, system: str) -> Any:
    """Return the proxy class for repositories of this kind."""

    def begin(self: Any, target: Any) -> None:
        self._target = target

    def pass_on(self: Any, name: str) -> Any:
        value = getattr(self._target, name)
        return observed(store, name, value, system) if name == "answers" else value

    members: dict[str, Any] = {"__slots__": ("_target",), "__init__": begin, "__getattr__": pass_on}
    for name in dir(kind):
        member = inspect.getattr_static(kind, name)
        if name.startswith("_") or not inspect.isfunction(member):
            continue
        if not inspect.isgeneratorfunction(inspect.unwrap(member)):
            members[name] = _timed(member, Call(store, repository, name, system))
    return type(f"Observed{kind.__name__}", (), members)


def _timed(method: Callable[..., Any], call: Call) -> Callable[..., Any]:
    def timed(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        started = perf_counter()
        try:
            result = method(self._target, *args, **kwargs)
        except BaseException as error:
            report(call, started, error)
            raise
        seconds = perf_counter() - started
        for listener in telemetry.listeners:
            listener.called(call, seconds, OK)
        return result

    return timed
