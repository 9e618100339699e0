"""Password hashing: Argon2id with the parameters of RFC 9106, with bounded concurrency.

Passwords are never stored, logged or included in messages. Each call takes tens of milliseconds and
64 MiB: never call within a transaction.
"""

import base64
import hashlib
import os
import secrets
import threading
import unicodedata
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from akidb.domain.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

MAX_CONCURRENT_HASHES = 2
"""Each takes 64 MiB and one thread per lane: more concurrent hashes are not faster on four cores."""
MAX_WAITING_HASHES = 8
"""More are refused: they would take seconds, and hashes that are tried out would delay those of users."""
TURN_TIMEOUT_SECONDS = 60.0
NICENESS = 15
"""How much lower the priority of a hash is: eight lanes together weigh a quarter of one thread."""
SALT_BYTES, TAG_BYTES = 16, 32


class Cost(NamedTuple):
    """Cost parameters of one hash."""

    passes: int
    memory_kib: int
    lanes: int


RFC_9106_SECOND_CHOICE = Cost(passes=3, memory_kib=64 * 1024, lanes=4)
"""RFC 9106, section 4: for systems where the first choice, which takes 2 GiB, is too much."""
cost_of_this_process = RFC_9106_SECOND_CHOICE
"""Not a setting: only tests, which compute thousands of hashes, lower it."""


class Passwords:
    """Hashes and verifies passwords."""

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost or cost_of_this_process
        self._turns = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES)
        self._places = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES + MAX_WAITING_HASHES)

    def hash(self, password: str) -> str:
        """Return the hash of a password with a new salt, as a string that includes its parameters."""
        with self._turn():
            return _apart(lambda: self._hasher.hash(_prepared(password)))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether the password matches. Without a hash return False after the same time."""
        from argon2.exceptions import InvalidHashError, VerifyMismatchError

        with self._turn():
            try:
                return _apart(lambda: self._hasher.verify(password_hash or self._decoy, _prepared(password)))
            except VerifyMismatchError:
                return False
            except InvalidHashError:
                raise Unavailable("the stored hash is damaged: set the password anew") from None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was computed with other than the current parameters."""
        return self._hasher.check_needs_rehash(password_hash)

    def fingerprint(self, password: str, key: str) -> str:
        """Return the stand-in for a password in a request fingerprint, which is stored for a day.

        Deterministic per idempotency key, and as hard to brute-force as the password hash itself.
        """
        from argon2.low_level import Type, hash_secret_raw

        salt = hashlib.sha256(b"akidb idempotency\0" + key.encode()).digest()[:SALT_BYTES]
        passes, memory, lanes = self._cost
        with self._turn():
            tag = _apart(
                lambda: hash_secret_raw(_prepared(password), salt, passes, memory, lanes, TAG_BYTES, Type.ID)
            )
        return tag.hex()

    @cached_property
    def _hasher(self) -> "PasswordHasher":
        from argon2 import PasswordHasher

        passes, memory, lanes = self._cost
        return PasswordHasher(
            time_cost=passes,
            memory_cost=memory,
            parallelism=lanes,
            hash_len=TAG_BYTES,
            salt_len=SALT_BYTES,
        )

    @cached_property
    def _decoy(self) -> str:
        """A hash with the current parameters that no known password matches."""
        passes, memory, lanes = self._cost
        salt, tag = (_base64(secrets.token_bytes(size)) for size in (SALT_BYTES, TAG_BYTES))
        return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${tag}"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Hold a slot of the hashing semaphore.

        Raises Overloaded when none is free in time, and at once if too many wait.
        """
        from argon2.exceptions import HashingError, VerificationError

        if not self._places.acquire(blocking=False):
            raise Overloaded("password")
        try:
            if not self._turns.acquire(timeout=TURN_TIMEOUT_SECONDS):
                raise Overloaded("password")
            try:
                yield
            finally:
                self._turns.release()
        except (HashingError, VerificationError) as error:  # no memory, no threads
            raise Unavailable(
                f"a password cannot be hashed: {error}", public="a password cannot be hashed"
            ) from None
        finally:
            self._places.release()


def _apart(hash_one: Callable[[], T]) -> T:
    """Compute a hash in a thread that leaves the cores to all others.

    The threads for the lanes of the hash inherit that. It is a new one each time, which takes little beside
    the hash, since a thread cannot raise its priority again.
    """
    made: Future[T] = Future()

    def work() -> None:
        try:
            _leave_cores_to_others()
            made.set_result(hash_one())
        except BaseException as error:  # noqa: BLE001 - raised by the caller
            made.set_exception(error)

    threading.Thread(target=work, name="akidb-password", daemon=True).start()
    return made.result()


def _leave_cores_to_others() -> None:
    """Keep the current thread on half of the process's cores, behind what else wants to use them.

    Only where a thread has cores and a priority of its own, as on Linux.
    """
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = os.sched_getaffinity(0)
    with suppress(OSError):  # forbidden here, or a core went away
        os.sched_setaffinity(0, sorted(allowed)[len(allowed) // 2 :])
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + NICENESS)


def _prepared(password: str) -> bytes:
    """Return the bytes of a password, normalized to NFC (RFC 8265, section 4.2)."""
    return unicodedata.normalize("NFC", password).encode()


def _base64(value: bytes) -> str:
    """Encode without padding, as in an encoded hash."""
    return base64.b64encode(value).decode().rstrip("=")
