"""The sockets of a server: TCP on loopback, a Unix socket in the data directory, and their connections."""

import errno
import ipaddress
import os
import select
import shutil
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any

from akidb.deployment.note import SOCKET_NAME
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.sql.identity import FileIdentity

BACKLOG = 2048
"""Connections that wait to be accepted."""
SOCKET_MODE, FOLDER_MODE = 0o600, 0o700
MAX_SOCKET_PATH_BYTES = 100
"""Below the platform limits for Unix socket paths (104 bytes on macOS, 108 on Linux)."""


def bind_tcp(host: str, port: int) -> socket.socket:
    """Return a socket bound to a loopback address, not yet listening.

    Raises InvalidArgument for any other address, Unavailable if the port cannot be bound.
    """
    if not 0 <= port <= 65535:
        raise InvalidArgument("port", "must be 0 to 65535")
    family, kind, protocol, address = _resolve(host, port)
    if not ipaddress.ip_address(address[0]).is_loopback:
        raise InvalidArgument("host", f"{host} is not a loopback address; there is no access control yet")
    # Explicit protocol number: without it, asyncio does not disable Nagle's algorithm.
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        reason = "the address is already in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise Unavailable(f"cannot listen on {host}:{port}: {reason}") from None
    return bound


def _resolve(host: str, port: int) -> tuple[socket.AddressFamily, socket.SocketKind, int, tuple[str, int]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    except (socket.gaierror, UnicodeError):
        raise InvalidArgument("host", f"{host!r} is not an address of this machine") from None
    family, kind, protocol, _, address = found[0]
    return family, kind, protocol, (str(address[0]), port)


def url_of(bound: socket.socket) -> str:
    """Return the URL of a bound TCP socket."""
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class UnixSocket:
    """A socket that only the owning user can connect to; closing it removes its file.

    It is in the data directory, or in a new temporary directory if that path is too long. Only the process
    that owns the data directory creates one there, so an existing file is stale.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / SOCKET_NAME
        self._own_folder: Path | None = None
        if len(os.fsencode(self.path)) > MAX_SOCKET_PATH_BYTES:
            try:
                self._own_folder = Path(tempfile.mkdtemp(prefix="akidb-"))
            except OSError as error:
                raise Unavailable(
                    f"the path of the socket is too long, and there is no other place: {error}"
                ) from None
            self.path = self._own_folder / SOCKET_NAME
        try:
            self._folder = FileIdentity(self.path.parent, directory=True)
            self.bound = self._bind()
        except OSError as error:
            self._remove_folder()
            raise Unavailable(f"cannot listen on {self.path}: {error.strerror}") from None

    def rebind(self) -> socket.socket | None:
        """Bind a new socket if the file was removed or replaced; return it, None if all is well.

        The caller closes the old one. If the directory was removed or replaced, nothing is done. Raises
        OSError.
        """
        if self._is_there() or self._folder.problem() is not None:
            return None
        self.bound = self._bind()
        return self.bound

    def close_to_others(self) -> int | None:
        """Take from other users what a change of mode gave them; return the mode found, None if all is well.

        Raises OSError.
        """
        found = None
        modes = {self.path: SOCKET_MODE} if self._is_there() else {}
        if self._own_folder is not None:
            modes[self._own_folder] = FOLDER_MODE
        for path, wanted in modes.items():
            mode = stat.S_IMODE(path.lstat().st_mode)
            if mode != wanted:
                path.chmod(wanted)
                found = mode
        return found

    def close(self) -> None:
        """Close the socket and remove its file. Open connections are kept."""
        self.bound.close()
        if self._is_there():  # not that of the next server
            self.path.unlink(missing_ok=True)
        self._remove_folder()

    def _bind(self) -> socket.socket:
        """Return a new socket that listens at the path.

        It is bound in a private directory and then moved: bound at the path, it would have the mode of
        the process's umask for a moment, and refuse clients until it listens.
        """
        private = Path(tempfile.mkdtemp(prefix="s", dir=self.path.parent))
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made = private / "s"
            bound.bind(str(made))
            made.chmod(SOCKET_MODE)
            self._identity = made.lstat()
            bound.listen(BACKLOG)
            made.rename(self.path)
        except BaseException:
            bound.close()
            raise
        finally:
            shutil.rmtree(private, ignore_errors=True)
        return bound

    def _is_there(self) -> bool:
        try:
            return os.path.samestat(self.path.lstat(), self._identity)
        except OSError:
            return False

    def _remove_folder(self) -> None:
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)


def addresses_of(transport: Any) -> tuple[Any, Any]:
    """Return the addresses of the server and the client, as ASGI has them."""
    server, client = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
    if isinstance(server, tuple):
        peer = (client[0], client[1]) if isinstance(client, tuple) else None
        return (str(server[0]), int(server[1])), peer
    return (str(server), None), None


def has_unread(transport: Any) -> bool:
    """Return whether bytes have arrived, or the connection has ended, and the transport has not read that."""
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))
