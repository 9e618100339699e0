"""What a data directory's lock says of its holder."""

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
def test_the_holder_is_named_by_its_command(
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


def test_a_holder_that_is_a_server_is_named_by_its_socket(tmp_path: Path) -> None:
    lock = OwnerLock(tmp_path)
    try:
        lock.publish(tmp_path / "akidb.sock")
        with pytest.raises(DirectoryHeld) as caught:
            OwnerLock(tmp_path)
    finally:
        lock.release()
    assert caught.value.message.endswith(f"; that is a server, which answers at unix://{tmp_path}/akidb.sock")
