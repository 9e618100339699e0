"""One use of a SQLite file, by a reader or by a writer."""

from types import TracebackType
from typing import Protocol

import sqlalchemy as sa

from akidb.domain.errors import AkiDBError, Unavailable
from akidb.sql.database import driver_of
from akidb.sql.errors import translated, translation
from akidb.sql.gate import FairGate
from akidb.sql.group_commit import SharedTransaction


class UsedFile(Protocol):
    """A file whose writers share commits."""

    @property
    def name(self) -> str:
        """Its name in errors."""

    @property
    def gate(self) -> FairGate:
        """The gate of its writers."""

    def take(self) -> sa.Connection:
        """Return a connection, to be given back."""

    def give(self, connection: sa.Connection, *, broken: bool) -> None:
        """Give a connection back."""

    def join(self) -> SharedTransaction:
        """Join the open transaction, or begin one. Requires the gate."""

    def undo(self, shared: SharedTransaction, error: BaseException, *, broken: bool) -> None:
        """Undo only the work of the last writer. Requires the gate."""

    def look(self, *, now: bool = False) -> None:
        """Compare the contents with what was written, unless a writer is at work."""

    def compare(self) -> None:
        """Compare the contents with what was written. Requires the gate."""

    def refusal(self) -> Unavailable | None:
        """Return the error for what another program was seen to have done to the contents."""


class Reading:
    """One use of a connection for reading. A class, since a generator takes longer than some reads."""

    __slots__ = ("_connection", "_file", "_snapshot")

    def __init__(self, file: UsedFile, *, snapshot: bool) -> None:
        self._file = file
        self._snapshot = snapshot

    def __enter__(self) -> sa.Connection:
        self._file.look()
        connection = self._connection = self._file.take()
        if self._snapshot:
            try:
                with translated(self._file.name):
                    driver_of(connection).execute("BEGIN")
            except BaseException:
                self._file.give(connection, broken=True)
                raise
        return connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        file, connection = self._file, self._connection
        broken = True
        try:
            if self._snapshot:
                with translated(file.name):
                    driver_of(connection).execute("COMMIT")
            instead = None if error is None else translation(file.name, error)
            broken = error is not None and not _is_harmless(instead or error)
            if broken:
                file.look(now=True)
                instead = file.refusal() or instead
        finally:
            file.give(connection, broken=broken)
        if instead is not None:
            raise instead from error


def _is_harmless(error: BaseException) -> bool:
    """Return whether a connection may be used again after an error."""
    return isinstance(error, AkiDBError) and not isinstance(error, Unavailable)


class Writing:
    """One writer's turn. A class, since a generator takes longer than some transactions."""

    __slots__ = ("_file", "_shared")

    def __init__(self, file: UsedFile) -> None:
        self._file = file

    def __enter__(self) -> sa.Connection:
        file = self._file
        file.gate.enter()
        try:
            self._shared = file.join()
        except BaseException as error:
            file.gate.leave()
            instead = translation(file.name, error)
            if instead is None:
                raise
            raise instead from error
        return self._shared.connection

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        instead: Exception | None = None
        try:
            file, shared = self._file, self._shared
            if error is None:
                shared.keep()
            else:
                instead = translation(file.name, error)
                broken = isinstance(instead or error, Unavailable)
                file.undo(shared, error, broken=broken)
                if broken:
                    file.compare()
                    instead = file.refusal() or instead
        finally:  # work that an interrupt left here is undone before the commit
            self._file.gate.leave()
        if error is None or isinstance(error, Exception):  # an interrupt comes out at once
            shared.wait(error)
        if instead is not None:
            raise instead from error
