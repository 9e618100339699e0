"""A server's socket and the note that names it, when they are removed."""

import os
import shutil
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import akidb
from akidb.api.sockets import MAX_SOCKET_PATH_BYTES, UnixSocket
from akidb.cli.main import main
from akidb.deployment.local import LocalOperations
from akidb.deployment.note import LOCK_NAME
from akidb.deployment.owner import DirectoryHeld, OwnerLock
from akidb.deployment.places import RESERVE_NAME

from .running import process


def awaited(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_removed_socket_is_bound_again(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running, akidb.connect(f"unix://{running.socket}") as before:
        for _ in range(2):
            running.socket.unlink()
            awaited(running.socket.exists)
            assert stat.S_IMODE(running.socket.stat().st_mode) == 0o600
            with akidb.connect(tmp_path / "data") as client:
                client.tenants.list()
            before.tenants.list()  # over its old connection
        assert running.stop() == 0
        left = {path.name for path in (tmp_path / "data").iterdir()}
        assert left <= {"clock.json", "metadata.db", "owner.lock", "tenants", RESERVE_NAME}
        assert "bound again" in running.log.read_text()


def test_socket_listens_as_soon_as_it_has_its_path(tmp_path: Path) -> None:
    made = UnixSocket(tmp_path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(made.path))
    made.close()


def test_changed_modes_are_restored(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with process(directory) as running:
        for mode in (0o666, 0o000):
            running.socket.chmod(mode)
            awaited(lambda: stat.S_IMODE(running.socket.stat().st_mode) == 0o600)
        directory.chmod(0o777)
        awaited(lambda: stat.S_IMODE(directory.stat().st_mode) == 0o700)
        assert running.stop() == 0
        log = running.log.read_text()
    for said in ("socket had mode 0666", "socket had mode 0000", "data directory had mode 0777"):
        assert said in log


def test_mode_of_a_socket_elsewhere_is_restored(tmp_path: Path) -> None:
    made = UnixSocket(tmp_path / ("d" * MAX_SOCKET_PATH_BYTES))
    try:
        assert made.close_to_others() is None
        made.path.parent.chmod(0o755)
        assert made.close_to_others() == 0o755
        assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
        made.path.unlink()
        assert made.close_to_others() is None
    finally:
        made.close()


@pytest.mark.slow
def test_moved_directory_is_named_and_no_other_server_is_asked(tmp_path: Path) -> None:
    directory, moved = tmp_path / "data", tmp_path / "moved"
    with process(directory):
        with akidb.connect(directory) as client:
            client.tenants.create("A")
        directory.rename(moved)
        expected = f"it opened it as {directory}: if it was moved, move it back, or end that process"
        with pytest.raises(DirectoryHeld, match=expected) as caught:
            akidb.connect(moved)
        assert caught.value.socket is None
        with process(directory) as other:  # another server at the old path
            with akidb.connect(directory) as client:
                assert list(client.tenants) == []
            with pytest.raises(DirectoryHeld, match=expected):
                akidb.connect(moved)
            assert other.stop() == 0
        shutil.rmtree(directory)
        moved.rename(directory)
        with akidb.connect(directory) as client:
            assert [tenant.slug for tenant in client.tenants] == ["a"]


def test_removed_note_of_server_is_written_again(tmp_path: Path) -> None:
    note = tmp_path / "data" / LOCK_NAME
    with process(tmp_path / "data") as running:
        note.unlink()
        with akidb.connect(tmp_path / "data") as client:
            assert not isinstance(client._operations, LocalOperations)
            client.tenants.create("A")
        awaited(lambda: note.exists() and str(running.socket) in note.read_text())


def test_commands_say_what_happened_to_missing_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = OwnerLock(tmp_path)
    lock.publish(tmp_path / "akidb.sock")
    (tmp_path / "metadata.db").touch()
    try:
        assert main(["--data", str(tmp_path), "tenant", "list"]) == 1
        assert "that socket was removed" in capsys.readouterr().err
        assert main(["--url", f"unix://{tmp_path}/akidb.sock", "tenant", "list"]) == 1
        assert "no server listens on it" in capsys.readouterr().err
    finally:
        lock.release()


def test_stopping_server_keeps_socket_of_the_next(tmp_path: Path) -> None:
    first = UnixSocket(tmp_path)
    first.path.unlink()
    second = UnixSocket(tmp_path)
    first.close()
    assert second.path.is_socket()
    second.close()
    assert list(tmp_path.iterdir()) == []


def test_socket_is_not_bound_in_directory_that_replaced_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    made = UnixSocket(directory)
    shutil.rmtree(directory)
    assert made.rebind() is None
    directory.mkdir()
    assert made.rebind() is None
    assert list(directory.iterdir()) == []
    made.close()


def test_socket_never_has_wider_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    rename = Path.rename

    def look(path: Path, target: Path) -> Path:
        seen.append(stat.S_IMODE(path.stat().st_mode))
        seen.append(stat.S_IMODE(path.parent.stat().st_mode))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", look)
    umask = os.umask(0)
    try:
        made = UnixSocket(tmp_path)
    finally:
        os.umask(umask)
    made.close()
    assert seen == [0o600, 0o700], "bound in a private directory, and moved when its mode is right"


def test_error_without_note_names_socket(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path)
    (tmp_path / LOCK_NAME).unlink()
    made = UnixSocket(tmp_path)
    try:
        with pytest.raises(DirectoryHeld) as caught:
            OwnerLock(tmp_path)
        assert caught.value.socket == made.path
    finally:
        made.close()
        lock.release()
