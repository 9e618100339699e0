"""The data directory's lock names the process that holds it."""

import sys
from pathlib import Path

import pytest

from akidb.deployment.owner import DirectoryHeld, OwnerLock


@pytest.mark.parametrize(
    ("call", "process"),
    [
        ("/usr/bin/akidb serve --port 0", "akidb serve"),
        ("akidb --data ./data --json serve", "akidb serve"),
        ("akidb --url=./data tenant list", "akidb tenant"),
        ("/lib/akidb/__main__.py --url ./data serve", "akidb serve"),
        ("akidb --data", "akidb"),
        ("-c", "python"),
        ("app.py", "app.py"),
    ],
)
def test_lock_error_names_command_of_owning_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, process: str
) -> None:
    monkeypatch.setattr(sys, "argv", call.split())
    lock = OwnerLock(tmp_path)
    try:
        with pytest.raises(DirectoryHeld) as caught:
            OwnerLock(tmp_path)
    finally:
        lock.release()
    assert caught.value.process == process
    assert "`akidb serve` lets several processes share" in caught.value.message


def test_lock_error_names_socket_of_owning_server(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path)
    try:
        lock.publish(tmp_path / "akidb.sock")
        with pytest.raises(DirectoryHeld) as caught:
            OwnerLock(tmp_path)
    finally:
        lock.release()
    assert caught.value.message.endswith(f"; it is a server listening at unix://{tmp_path}/akidb.sock")
