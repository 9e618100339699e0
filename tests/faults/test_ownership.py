"""A data directory is locked by one process for exactly as long as that process lives."""

import os
import signal
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.process import BaseProcess
from pathlib import Path

import holding_child
import pytest
from fault_tools import add_tenant, at, document, opened, unsound

from akidb.deployment.note import LOCK_NAME
from akidb.deployment.owner import DirectoryHeld
from akidb.domain.errors import AkiDBError, Unavailable
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, ListTenants
from children import child, exit_code


@contextmanager
def held(directory: Path) -> Iterator[BaseProcess]:
    """A directory that another process holds; gives the process."""
    reading, writing = Pipe(duplex=False)
    with reading, child(holding_child.run, directory, writing) as process:
        writing.close()
        assert reading.recv() == "ready"
        yield process


def _refusal(directory: Path) -> DirectoryHeld:
    with pytest.raises(DirectoryHeld) as raised, opened(directory):
        pass
    return raised.value


def test_error_names_process_owning_directory(tmp_path: Path) -> None:
    with held(tmp_path) as holder:
        refusal = _refusal(tmp_path)
        assert refusal.pid == holder.pid
        assert f"process {holder.pid} ({refusal.process})" in refusal.message
        assert "akidb serve" in refusal.message
        assert refusal.process
        assert refusal.socket is None
        assert stat.S_IMODE((tmp_path / LOCK_NAME).stat().st_mode) == 0o600


def test_lock_is_released_when_owner_is_killed(tmp_path: Path) -> None:
    with held(tmp_path) as holder:
        holder.kill()
        holder.join()
        assert (tmp_path / LOCK_NAME).read_bytes(), "what is stale must not matter"
        with opened(tmp_path) as operations:
            assert operations.perform(CountDocuments(**at("held")._asdict())) == 1
            assert unsound(operations) == []


def test_stopped_owner_keeps_lock(tmp_path: Path) -> None:
    with held(tmp_path) as holder:
        assert holder.pid is not None
        os.kill(holder.pid, signal.SIGSTOP)
        assert _refusal(tmp_path).pid == holder.pid
        os.kill(holder.pid, signal.SIGCONT)
        assert _refusal(tmp_path).pid == holder.pid


@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"[1]", b'{"pid": "x"}', b'{"pid": 1, "socket": "/s"}', b"{" * 70000]
)
def test_stale_lock_file_content_is_ignored(content: bytes, tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_bytes(content)
    with opened(tmp_path) as operations:
        add_tenant(operations, "t")


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b"{" * 70000])
def test_owner_keeps_lock_when_lock_file_content_is_unreadable(content: bytes, tmp_path: Path) -> None:
    with held(tmp_path):
        (tmp_path / LOCK_NAME).write_bytes(content)
        refusal = _refusal(tmp_path)
        assert "another process" in refusal.message
        assert "process 0" not in refusal.message


def test_lock_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(Unavailable, match="Is a directory") as raised, opened(tmp_path):
        pass
    assert str(tmp_path) in raised.value.message
    (tmp_path / LOCK_NAME).rmdir()
    with opened(tmp_path) as operations:
        assert unsound(operations) == []


def test_path_that_is_not_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(Unavailable, match="not a directory"), opened(tmp_path / "file"):
        pass
    with pytest.raises(Unavailable, match="Not a directory"), opened(tmp_path / "file" / "below"):
        pass


def test_connections_of_one_process_share_directory(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        add_tenant(first, "t", "c")
        with opened(tmp_path / ".." / tmp_path.name) as second:
            second.perform(UpsertDocuments(**at("t")._asdict(), documents=[document("x")]))
        assert first.perform(CountDocuments(**at("t")._asdict())) == 1
        assert exit_code(_must_be_refused, tmp_path) == 0
    with pytest.raises(AkiDBError):
        first.perform(CountDocuments(**at("t")._asdict()))
    with opened(tmp_path) as third:
        assert third.perform(CountDocuments(**at("t")._asdict())) == 1


def _must_be_refused(directory: Path) -> None:
    _refusal(directory)


def test_threads_opening_and_closing_concurrently_share_directory(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for turn in range(5):
                with opened(tmp_path) as operations:
                    operations.perform(CreateTenant(name=f"T {number} {turn}"))
        except BaseException as error:  # noqa: BLE001 - told below
            errors.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with opened(tmp_path) as operations:
        assert len(operations.perform(ListTenants(limit=1000)).items) == 40


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # Python 3.12 warns of what this is about
def test_forked_child_neither_uses_nor_releases_directory(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        pid = os.fork()
        if pid == 0:
            refused = 1
            try:
                operations.perform(ListTenants())
            except Unavailable:
                refused = 0
            os._exit(refused)
        assert os.waitpid(pid, 0)[1] == 0
        assert exit_code(_must_be_refused, tmp_path) == 0
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=[document("x")]))
