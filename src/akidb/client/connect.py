"""`connect`: resolve a target to a client, in process or over HTTP."""

import numbers
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard
from urllib.parse import urlsplit

from akidb.domain.errors import InvalidArgument
from akidb.domain.extras import needing_extras
from akidb.settings import Settings, in_home, load_with_sources

if TYPE_CHECKING:
    from akidb.client.handles.client import Client
    from akidb.operations.declare import Operations

Target = str | os.PathLike[str]

DEFAULT_TIMEOUT_SECONDS = 300.0
"""Embedding a large batch of texts takes minutes on a small machine."""

MEMORY = ":memory:"
"""A store that vanishes when its connection is closed."""
MAX_TIMEOUT_SECONDS = 1_000_000_000
_AUTHORITY = re.compile(r"(\[[^/\]]*\]|[^/:]*):[0-9]{1,5}(/.*)?", re.DOTALL | re.ASCII)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):", re.ASCII | re.IGNORECASE)


def connect(
    target: Target | None = None, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, **settings: Any
) -> "Client":
    """Connect to AkiDB.

    `target` is a directory (created if it does not exist), `sqlite:///PATH` (four slashes for an absolute
    path), `postgresql://USER@HOST/DATABASE`, `http://HOST:PORT`, `https://...`, or `unix:///PATH` for a
    server's socket; `:memory:` is a store of its own that vanishes on close. It defaults to the setting
    `url`. A directory that a running server owns is accessed through the server's socket; one that another
    process has open is waited for, up to `open_wait_seconds`. `settings` are fields of
    `akidb.settings.Settings`, such as `models_dir`; they apply to this process only. `timeout_seconds`
    limits the wait for a server's response.

    Raises InvalidArgument for an invalid target or setting, Unavailable when the directory cannot be
    used or is locked by a process that is not a server, or when an extra is missing (the message names it).
    """
    from akidb.client.handles.client import Client

    loaded = load_with_sources(**settings)
    if target is None:
        with loaded.named():
            target = loaded.settings.url
            if target != MEMORY:
                resolve(target)
    return Client(bind(target, loaded.settings, timeout_seconds=timeout_seconds))


def bind(
    target: Target, settings: Settings, *, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
) -> "Operations":
    """Return the operations for a target, resolved as in `connect`."""
    if target == MEMORY:
        with needing_extras():
            from akidb.deployment.memory import MemoryOperations

            return MemoryOperations(settings)
    where = resolve(target)
    _check_timeout(timeout_seconds)
    if is_server(where):
        if settings.tracing == "on":
            with needing_extras():
                import akidb.observe.tracing  # noqa: F401 - to find out whether it can be
        return _remote(where, timeout_seconds, settings.wait_seconds)
    with needing_extras():
        return _local(where, settings, timeout_seconds)


def _local(where: str | Path, settings: Settings, timeout_seconds: float) -> "Operations":
    """Open a directory or a database in this process, or connect to the server that has the directory."""
    try:
        from akidb.deployment.local import open_local
        from akidb.deployment.owner import DirectoryHeld, patiently
    except ModuleNotFoundError:
        socket = _server_of(where)  # the client alone is installed, which needs no more for a server
        if socket is None:
            raise
        return _remote(_socket_url(socket), timeout_seconds, settings.wait_seconds)
    try:
        return patiently(lambda: open_local(where, settings), settings.open_wait_seconds)
    except DirectoryHeld as held:
        if held.socket is None:
            raise
        if not held.socket.is_socket():
            held.add_note("that socket was removed; the server binds it again within seconds")
            raise
        return _remote(_socket_url(held.socket), timeout_seconds, settings.wait_seconds)


def _server_of(where: str | Path) -> Path | None:
    """Return the socket of the server that has the directory open, if there is one."""
    from akidb.deployment.note import published_socket

    socket = published_socket(where) if isinstance(where, Path) else None
    return socket if socket is not None and socket.is_socket() else None


def _remote(url: str, timeout_seconds: float, wait_seconds: float) -> "Operations":
    from akidb.client.http import HttpOperations

    return HttpOperations(url, timeout_seconds=timeout_seconds, wait_seconds=wait_seconds)


def _check_timeout(seconds: Any) -> None:
    is_number = isinstance(seconds, numbers.Real) and not isinstance(seconds, bool)
    if not is_number:
        raise InvalidArgument("timeout_seconds", f"must be a number, not {type(seconds).__name__}")
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        raise InvalidArgument("timeout_seconds", f"must be more than 0, and at most {MAX_TIMEOUT_SECONDS:,}")


def resolve(target: Target) -> str | Path:
    """Resolve a target to a URL (`http`, `https`, `unix` or `postgresql`) or a directory path.

    Raises InvalidArgument(`url`) for anything else.
    """
    if not isinstance(target, str):
        return _path(_text(target))
    _refuse_other(target)
    scheme = _SCHEME.match(target)
    if scheme is None:
        return _path(target)
    name, rest = scheme[1].lower(), target[scheme.end() :]
    if name in {"http", "https"}:
        return _server(target)
    if name == "sqlite":
        return _sqlite(rest)
    if name == "unix":
        if not rest.startswith("///") or "\0" in rest:
            raise InvalidArgument("url", "must be unix:///PATH, the path of a server's socket")
        return f"unix:{rest}"
    if name.partition("+")[0] in {"postgresql", "postgres"}:
        if not rest.startswith("//"):
            raise InvalidArgument("url", "must be postgresql://USER@HOST/DATABASE")
        return f"postgresql:{rest}"
    raise InvalidArgument(
        "url", f"must be a directory or begin with sqlite, postgresql, http, https or unix, not {name}"
    )


def resolve_directory(target: str) -> str | Path:
    """Resolve the name of a directory that was given as such, which is not a URL.

    The path of a server's socket is resolved to its URL. Raises InvalidArgument(`url`).
    """
    _refuse_other(target)
    scheme = _SCHEME.match(target)
    if scheme is not None and target.startswith("//", scheme.end()):
        raise InvalidArgument("url", "must be a directory here: give a URL with --url")
    return _path(target)


def _refuse_other(target: str) -> None:
    """Raise InvalidArgument(`url`) for an address without `http://`, and for names like `:memory:`."""
    if target == MEMORY:
        raise InvalidArgument(
            "url", f"{MEMORY} is for akidb.connect in Python: here its data would be lost at once"
        )
    if target.lower() == MEMORY:
        raise InvalidArgument("url", f"must be {MEMORY} in lower case, or ./{target} for a directory")
    if _AUTHORITY.fullmatch(target):
        host = "localhost" if target.startswith(":") else ""
        raise InvalidArgument(
            "url", f"must be http://{host}{target} for a server, ./{target} for a directory"
        )
    if target.startswith(":"):
        raise InvalidArgument("url", f"must be ./{target} for a directory")


def _text(target: object) -> str:
    """Return the path of an object that is one."""
    try:
        text = os.fspath(target)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str):
        raise InvalidArgument("url", f"must be text or a path of text, not {type(target).__name__}")
    return text


def is_server(where: str | Path) -> TypeGuard[str]:
    """Return whether a resolved target is a server, rather than stores that this process opens."""
    return isinstance(where, str) and not where.startswith("postgresql:")


def _server(url: str) -> str:
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidArgument("url", "must be ASCII without spaces")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidArgument("url", str(error)) from None
    if not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise InvalidArgument("url", "must be http://HOST:PORT or https://HOST:PORT")
    if "@" in parts.netloc:
        raise InvalidArgument("url", "must not contain a user or a password")
    if parts.path.rstrip("/").endswith("/v1"):
        raise InvalidArgument("url", "must not end in /v1, which requests begin with")
    return url


def _sqlite(rest: str) -> str | Path:
    path = rest.removeprefix("///")
    if path == rest or "?" in path or path.lower() == MEMORY:
        raise InvalidArgument(
            "url", "must be sqlite:///PATH of a directory, with four slashes for an absolute path"
        )
    return _path(path)


def _path(text: str) -> str | Path:
    if not text or "\0" in text:
        raise InvalidArgument("url", "must name a directory")
    path = in_home(text, "url")
    if path.is_socket():
        return _socket_url(path)
    if path.exists() and not path.is_dir():
        raise InvalidArgument("url", f"{text} is a file, not a directory")
    return path


def _socket_url(path: Path) -> str:
    return f"unix://{path.absolute()}"
