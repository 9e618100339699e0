"""Who may start: everybody until the door closes, which waits for those inside."""

import threading
import time

import pytest

from akidb.domain.errors import Unavailable
from akidb.services.admission import Admission, operation


class Library:
    """Has an operation."""

    def __init__(self) -> None:
        self.admission = Admission()

    @operation
    def lend(self, title: str, *, days: int = 14) -> str:
        """Lend a book."""
        return f"{title} for {days} days"


@pytest.fixture
def admission() -> Admission:
    return Admission()


def test_an_operation_is_itself_to_its_callers() -> None:
    assert Library().lend("Kokoro", days=7) == "Kokoro for 7 days"
    assert (Library.lend.__name__, Library.lend.__doc__) == ("lend", "Lend a book.")


def test_after_the_door_is_closed_nobody_starts() -> None:
    library = Library()
    library.admission.refuse("the library is closed")
    library.admission.refuse("for another reason")
    with pytest.raises(Unavailable, match="the library is closed"):
        library.lend("Kokoro")


def test_an_operation_may_call_another(admission: Admission) -> None:
    with admission, admission:
        pass
    admission.drain("closed")


def test_draining_waits_for_those_inside(admission: Admission) -> None:
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


def test_an_operation_that_fails_has_ended(admission: Admission) -> None:
    with pytest.raises(KeyError), admission:
        raise KeyError
    admission.drain("closed")


def test_an_abandoned_door_is_closed_whatever_others_held(admission: Admission) -> None:
    admission.__enter__()
    admission._changed.acquire()  # as another thread of the parent may have done
    admission.abandon("forked")
    with pytest.raises(Unavailable, match="forked"):
        admission.__enter__()
