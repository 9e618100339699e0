"""Sessions of a PostgreSQL server: connecting, their settings, and whether a pooler keeps them.

Settings are made by statements after connecting, not by the startup parameter `options`, which PgBouncer
rejects or ignores. A pooler must give a connection one server session for as long as it is open: settings,
advisory locks and prepared statements belong to the session.
"""

import re
from contextlib import closing
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Format

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.sql.errors import translated
from akidb.sql.server_clock import ServerClock, elapsed_seconds

MINIMUM_VERSION = 160_000
"""PostgreSQL 16, the first with `IS JSON`."""
LOCK_TIMEOUT_SECONDS = 60

TRANSACTION_POOLING = (
    "the pooler does not keep a server session for each connection; connect to the server itself, or to a"
    " pooler in session mode (for PgBouncer: pool_mode = session)"
)

_CONNECTION_DEFAULTS = {
    "application_name": "akidb",
    "connect_timeout": "10",
    # A server that disappears without closing its connections is noticed within a minute, not after hours.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
_TIMEOUTS = {
    "lock_timeout": f"{LOCK_TIMEOUT_SECONDS}s",
    "statement_timeout": "0",
    "transaction_timeout": "0",  # since PostgreSQL 17
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
_SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "client_encoding": "UTF8",
    "client_min_messages": "error",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "row_security": "off",  # a policy that would hide rows becomes an error
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}


class _IdLoader(Loader):
    """Load a UUID as bytes, without going through `uuid.UUID`."""

    format = Format.TEXT

    def load(self, data: Buffer) -> bytes:
        return bytes.fromhex(bytes(data).replace(b"-", b"").decode())


class _BinaryIdLoader(Loader):
    """The same for binary cursors."""

    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


class Session(psycopg.Connection[tuple[Any, ...]]):
    """A connection with the settings of AkiDB."""

    clock: ServerClock
    backend = 0
    """The process ID of its server session; a pooler tells clients an invented one."""
    is_pooled = False
    """Whether there is a pooler between this process and the server."""

    def is_kept(self) -> bool:
        """Return whether the connection still has its server session. Raises psycopg.Error if it is lost."""
        return self.ask("SELECT pg_backend_pid(), clock_timestamp()") == self.backend

    def ask(self, statement: str) -> int:
        """Run a statement that returns the server session's process ID and the server's time."""
        asked_at = elapsed_seconds()
        row = self.execute(statement).fetchone()
        assert row is not None
        self.clock.hear(row[1], asked_at)
        return int(row[0])


class Parameters:
    """How to connect to a database, and the settings of its sessions."""

    def __init__(self, url: str, schema: str, *, synchronous: str = "full") -> None:
        """Read a URL. Raises InvalidArgument(`url`) if it is invalid."""
        _, _, rest = url.partition("://")
        try:
            given = conninfo_to_dict(f"postgresql://{rest}")
        except psycopg.ProgrammingError as error:
            reason = str(error).partition(': "')[0]  # the quoted part may be the password
            raise InvalidArgument("url", f"is not a valid PostgreSQL URL: {reason}") from None
        options = str(given.get("options", ""))
        for name, value in _CONNECTION_DEFAULTS.items():
            given.setdefault(name, value)
        given["client_encoding"] = "UTF8"
        self.conninfo: str = make_conninfo("", **given)
        self.name = "PostgreSQL"
        """The name in errors that anyone may see."""
        self.place = f"{self.name} database {given.get('dbname', '')}".rstrip()
        """The name in errors for callers on this machine; contains no secret."""
        # Temporary tables last: they would otherwise hide tables of the same name.
        self.search_path = f'"{schema}", pg_temp'
        settings = {
            "search_path": self.search_path,
            "synchronous_commit": "on" if synchronous == "full" else "off",
            **_SETTINGS,
            # A timeout in the URL is meant for AkiDB; one of the role or the database is not.
            **{name: value for name, value in _TIMEOUTS.items() if not _names(options, name)},
        }
        made = ", ".join(map(_set_config, settings, settings.values()))
        self.setting = f"SELECT pg_backend_pid(), clock_timestamp(), {made}"
        self.clock = ServerClock()


def open_session(parameters: Parameters) -> Session:
    """Connect, and make the settings of the session."""
    session = Session.connect(parameters.conninfo, autocommit=True)
    try:
        session.clock = parameters.clock
        session.adapters.register_loader("uuid", _IdLoader)
        session.adapters.register_loader("uuid", _BinaryIdLoader)
        session.backend = session.ask(parameters.setting)
        if session.backend != session.info.backend_pid:
            session.is_pooled = True
            session.execute("DISCARD ALL")  # what an earlier client of the pooler left
            session.backend = session.ask(parameters.setting)
    except BaseException:
        session.close()
        raise
    return session


def _names(options: str, name: str) -> bool:
    return re.search(rf"(?:-c\s*|--){name.replace('_', '[-_]')}\s*=", options, re.IGNORECASE) is not None


def _set_config(name: str, value: str) -> str:
    """Return the expression that makes a setting, if the server has it."""
    made = f"set_config('{name}', '{value}', false)"
    if name != "transaction_timeout":
        return made
    return f"CASE WHEN current_setting('{name}', true) IS NOT NULL THEN {made} END"


def check_server(session: Session, parameters: Parameters) -> None:
    """Check that the server and the session suit AkiDB.

    Raises Unavailable if the server is older than PostgreSQL 16, the encoding is not UTF-8, triggers are
    switched off, or a pooler does not keep sessions.
    """
    if session.is_pooled:
        _require_session_pooling(session, parameters)
    found = session.execute(
        "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
        " current_setting('session_replication_role')"
    ).fetchone()
    assert found is not None
    version, encoding, role = found
    if version < MINIMUM_VERSION:
        raise Unavailable(f"{parameters.name}: the server is older than PostgreSQL 16")
    if encoding != "UTF8":
        raise Unavailable(f"{parameters.name}: its encoding is {encoding}; create it with ENCODING 'UTF8'")
    if role != "origin":
        raise Unavailable(
            f"{parameters.name}: session_replication_role is {role}, which switches off triggers and"
            " references; reset it for the role"
        )


def _require_session_pooling(session: Session, parameters: Parameters) -> None:
    """Raise Unavailable if another connection can get the server session of this one.

    In transaction mode a pooler gives the session that was just released to the next transaction.
    """
    refused = Unavailable(f"{parameters.name}: {TRANSACTION_POOLING}")
    with translated(parameters.name, parameters.place), closing(open_session(parameters)) as other:
        try:
            other.execute("BEGIN")
        except psycopg.errors.ProtocolViolation as error:  # PgBouncer in statement mode
            raise refused from error
        if other.backend == session.backend or not other.is_kept():
            raise refused
        if not session.is_kept() or not _has_settings(session, parameters):
            raise refused


def _has_settings(session: Session, parameters: Parameters) -> bool:
    found = session.execute("SELECT current_setting('search_path'), current_setting('TimeZone')").fetchone()
    return found == (parameters.search_path, "UTC")
