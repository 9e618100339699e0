"""Admission of requests: refusal after shutdown begins, and draining."""

import threading
import time
from typing import Any
from unittest.mock import Mock

import pytest

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.operations.embeddings import GetModel
from akidb.services.admission import Admission
from akidb.services.dispatch import Dispatcher, handles


class Library:
    """Carries an operation out."""

    @handles(GetModel)
    def lend(self, asked: GetModel, *, days: int = 14) -> Any:
        """Lend a book."""
        return f"{asked.model} for {days} days"


def opened(admission: Admission) -> Dispatcher:
    """What leads requests to a library; it has no metadata."""
    made = Dispatcher(admission, *(Mock() for _ in range(6)))
    made.add(Library())
    return made


@pytest.fixture
def admission() -> Admission:
    return Admission()


def test_decorated_handler_behaves_like_original(admission: Admission) -> None:
    assert Library().lend(GetModel(model="Kokoro"), days=7) == "Kokoro for 7 days"
    assert (Library.lend.__name__, Library.lend.__doc__) == ("lend", "Lend a book.")
    lent: Any = opened(admission).perform(GetModel(model="Kokoro"), days=7)
    assert lent == "Kokoro for 7 days"


def test_no_request_starts_after_refusal(admission: Admission) -> None:
    library = opened(admission)
    admission.refuse("the library is closed")
    admission.refuse("for another reason")
    for model in ("Kokoro", 7):
        with pytest.raises(Unavailable, match="the library is closed"):
            library.perform(GetModel(model=model))  # type: ignore[arg-type]


def test_refused_request_does_not_block_drain(admission: Admission) -> None:
    with pytest.raises(InvalidArgument):
        opened(admission).perform(GetModel(model=7))  # type: ignore[arg-type]
    admission.drain("closed")


def test_operation_can_call_another_operation(admission: Admission) -> None:
    with admission, admission:
        pass
    admission.drain("closed")


def test_drain_waits_for_running_operations(admission: Admission) -> None:
    order: list[str] = []
    entered = threading.Event()

    def work() -> None:
        with admission:
            entered.set()
            time.sleep(0.05)
            order.append("worked")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    entered.wait()
    while len(order) < 3 and any(thread.is_alive() for thread in threads):
        admission.drain("closed")
        order.append("drained")
        break
    for thread in threads:
        thread.join()
    assert order[-1] == "drained"
    with pytest.raises(Unavailable, match="closed"):
        admission.__enter__()


def test_failed_operation_does_not_block_drain(admission: Admission) -> None:
    with pytest.raises(KeyError), admission:
        raise KeyError
    admission.drain("closed")


def test_abandon_refuses_requests_even_while_lock_is_held(admission: Admission) -> None:
    admission.__enter__()
    admission._lock.acquire()  # as another thread of the parent may have done
    admission.abandon("forked")
    with pytest.raises(Unavailable, match="forked"):
        admission.__enter__()
