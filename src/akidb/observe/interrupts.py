"""Signals that arrive during an operation: their handlers run at its end, or where it can be left.

CPython calls the handler of a signal in the main thread between any two instructions, and the handler may
raise, as that of Ctrl-C does. At most places such an exception would leave something behind: a gate that is
never left, a connection in the middle of a transaction that other writers share. So an operation in the main
thread replaces the handlers while it runs. A signal that arrives is passed to its own handler when the
operation ends, and at once while the operation waits, embeds, or uses a stream of the caller.
"""

import _signal  # type: ignore[import-not-found]  # a tenth of the time of the functions of `signal`
import os
import signal
import threading
from _thread import get_ident
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Self

Handler = Callable[[int, FrameType | None], Any]

_SIGNALS = tuple(
    int(each)
    for each in (signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
)
"""The signals whose handlers may raise an exception. SIGINT is restored last."""

_main = threading.main_thread().ident


_MARK = "__raised_by_signal_handler__"


class _Operation:
    """The operation of the main thread, and the signals that arrived during it."""

    __slots__ = ("arrived", "handlers", "open")

    def __init__(self, handlers: dict[int, Handler]) -> None:
        self.handlers = handlers
        self.arrived: dict[int, FrameType | None] = {}
        self.open = False
        """Whether a handler may run now."""

    def deliver(self) -> None:
        """Call the handlers of the signals that arrived. If one raises, the others stay."""
        while self.arrived:
            number, frame = self.arrived.popitem()
            self.call(number, frame)

    def call(self, number: int, frame: FrameType | None) -> None:
        """Call a handler, and mark what it raises, which may be of a class that stores raise too."""
        try:
            self.handlers[number](number, frame)
        except BaseException as error:
            with suppress(AttributeError):
                setattr(error, _MARK, True)
            raise


def is_of_handler(error: BaseException) -> bool:
    """Return whether the handler of a signal raised an error, which then must not be translated."""
    return getattr(error, _MARK, False)


_operation: _Operation | None = None


def _on_signal(number: int, frame: FrameType | None) -> None:
    operation = _operation
    if operation is None:
        return
    if not operation.open:
        operation.arrived[number] = frame
        return
    operation.open = False  # no second exception while the first one is handled
    operation.call(number, frame)
    operation.open = True


class Deferred:
    """While the block runs in the main thread, signals wait for its end, or for the next `Interruptible`.

    Blocks may be nested. A block in another thread is not affected.
    """

    __slots__ = ("_handlers", "_reopened")

    def __enter__(self) -> Self:
        global _operation  # noqa: PLW0603 - there is one main thread
        self._handlers: dict[int, Handler] | None = None
        self._reopened: _Operation | None = None
        if get_ident() != _main:
            return self
        found = tuple(map(_signal.getsignal, _SIGNALS))
        if _on_signal in found:  # within another block, perhaps in an interruptible part of it
            if _operation is not None and _operation.open:
                _operation.open, self._reopened = False, _operation
            return self
        handlers = {number: each for number, each in zip(_SIGNALS, found, strict=True) if callable(each)}
        try:
            _operation = _Operation(handlers)
            for number in handlers:
                _signal.signal(number, _on_signal)
        except BaseException as error:  # a signal that arrived before
            _restore(handlers)
            if isinstance(error, ValueError):  # not the main interpreter
                return self
            raise
        self._handlers = handlers
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        global _operation  # noqa: PLW0603
        if self._handlers is not None:
            operation = _operation
            try:
                _restore(self._handlers)
            finally:
                _operation = None
            if operation is not None and operation.arrived:
                _deliver_last(operation)
        elif self._reopened is not None:
            self._reopened.open = True
            self._reopened.deliver()


def _deliver_last(operation: _Operation) -> None:
    try:
        operation.deliver()
    finally:
        for number in operation.arrived:
            signal.raise_signal(number)


def _restore(handlers: dict[int, Handler]) -> None:
    raised: BaseException | None = None
    for number, handler in handlers.items():
        while True:
            try:
                _signal.signal(number, handler)
                break
            except ValueError:
                break
            except BaseException as error:  # noqa: BLE001 - a restored handler raised
                raised = error
    if raised is not None:
        raise raised


class Interruptible:
    """A part of an operation that a signal may interrupt, as it holds nothing that would be left behind."""

    __slots__ = ("_opened",)

    def __enter__(self) -> Self:
        self._opened: _Operation | None = None
        if _operation is not None and get_ident() == _main and not _operation.open:
            self._opened = _operation
            _operation.deliver()
            _operation.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened is not None:
            self._opened.open = False


def checkpoint() -> None:
    """Call the handlers of signals that arrived, in a loop that holds nothing that would be left behind."""
    operation = _operation
    if operation is not None and operation.arrived and get_ident() == _main:
        operation.deliver()


class InterruptibleStream:
    """A stream of the caller, whose reads and writes may be interrupted."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        return partial(_interruptibly, found) if name in {"read", "write"} else found


def _interruptibly(call: Callable[..., Any], *arguments: Any) -> Any:
    with Interruptible():
        return call(*arguments)


def _after_fork_in_child() -> None:
    global _main  # noqa: PLW0603 - the thread that forked is the only one
    _main = get_ident()


os.register_at_fork(after_in_child=_after_fork_in_child)
