"""A real PgBouncer in front of the tests' PostgreSQL: Debian's package `pgbouncer`."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from postgres import Server
from surroundings import temporary_folder

PORT = 6432
"""Part of the name of its socket, which is in a folder of its own."""
DEADLINE_SECONDS = 30
SETTINGS = {
    "auth_type": "any",
    "listen_addr": "",
    "listen_port": str(PORT),
    "pool_mode": "session",
    "default_pool_size": "40",
    "ignore_startup_parameters": "extra_float_digits",
}


def _program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.exit("pgbouncer is missing: install Debian's package `pgbouncer`", returncode=1)
    return found


@contextmanager
def pooled(server: Server, url: str, **settings: str) -> Iterator[str]:
    """The address of a database behind a pooler with these settings."""
    folder = Path(tempfile.mkdtemp(prefix="akidb-pgbouncer-", dir=temporary_folder()))
    given = conninfo_to_dict(url)
    database = given["dbname"]
    user = server.system_user
    try:
        lines = {**SETTINGS, "unix_socket_dir": str(folder), "logfile": str(folder / "log"), **settings}
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={given['host']} user=postgres dbname={database}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in lines.items())
        )
        if user is not None:  # it refuses to run as root
            found = pwd.getpwnam(user)
            for path in (folder, *folder.iterdir()):
                os.chown(path, found.pw_uid, found.pw_gid)
        command = [_program(), "-q", str(folder / "pgbouncer.ini")]
        groups: list[str] | None = None if user is None else []
        with subprocess.Popen(command, user=user, extra_groups=groups, stderr=subprocess.DEVNULL) as process:
            try:
                _await(folder, process)
                yield f"postgresql://postgres@/{database}?host={folder}&port={PORT}"
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + DEADLINE_SECONDS
    while True:
        with socket.socket(socket.AF_UNIX) as attempt:
            try:
                attempt.connect(str(folder / f".s.PGSQL.{PORT}"))
            except OSError:
                log = folder / "log"
                assert process.poll() is None, log.read_text() if log.exists() else "no log"
                assert time.monotonic() < until
                time.sleep(0.01)
            else:
                return
