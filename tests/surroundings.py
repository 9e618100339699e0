"""What all tests stand in, by a plugin of pytest: quick password hashes, and a Ctrl-C that is heard."""

import signal
from collections.abc import Iterator

import pytest

QUICK_HASHES = """
from akidb.services import passwords
passwords.cost_of_this_process = passwords.Cost(passes=1, memory_kib=8, lanes=1)
"""
"""For a program that serves: passwords cost it next to nothing."""


def pytest_configure() -> None:
    """Let Ctrl-C reach this process, and so those that it starts.

    A shell that starts the suite in the background lets it ignore the signal, which every child inherits.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _quick_hashes() -> Iterator[None]:
    """Let this process spend next to nothing on a password. The program `akidb` has no such choice."""
    # This module is loaded before coverage is measured, AkiDB must not be.
    from akidb.services import passwords

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "cost_of_this_process", passwords.Cost(passes=1, memory_kib=8, lanes=1))
        yield


@pytest.fixture
def full_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let passwords cost what they cost users, for the time of one test."""
    from akidb.services import passwords

    monkeypatch.setattr(passwords, "cost_of_this_process", passwords.RFC_9106_SECOND_CHOICE)
