"""Hashes of passwords: Argon2id with the parameters of RFC 9106, a bounded number at once.

A password is never kept, logged or part of a message. What is called here takes tens of milliseconds and
64 MiB: never within a transaction.
"""

import base64
import hashlib
import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from akidb.domain.errors import Overloaded, Unavailable

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MAX_CONCURRENT_HASHES = 2
"""Each takes 64 MiB and as many threads as it has lanes: more of them at once are no faster on four cores."""
TURN_TIMEOUT_SECONDS = 60.0
SALT_BYTES, TAG_BYTES = 16, 32


class Cost(NamedTuple):
    """What it costs to try one password."""

    passes: int
    memory_kib: int
    lanes: int


RFC_9106_SECOND_CHOICE = Cost(passes=3, memory_kib=64 * 1024, lanes=4)
"""RFC 9106, section 4: where the first choice, which takes 2 GiB, is too much."""
cost_of_this_process = RFC_9106_SECOND_CHOICE
"""No setting: only tests, which make thousands of hashes, put less here."""


class Passwords:
    """Hashes passwords, and tells whether one is the right one."""

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost or cost_of_this_process
        self._turns = threading.BoundedSemaphore(MAX_CONCURRENT_HASHES)

    def hash(self, password: str) -> str:
        """The hash of a password with a new salt, as text that names its parameters."""
        with self._turn():
            return self._hasher.hash(_prepared(password))

    def verify(self, password_hash: str | None, password: str) -> bool:
        """Whether this is the password. Without a hash it is not, which takes the same time to say."""
        from argon2.exceptions import VerifyMismatchError

        with self._turn():
            try:
                return self._hasher.verify(password_hash or self._decoy, _prepared(password))
            except VerifyMismatchError:
                return False

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(password_hash)

    def fingerprint(self, password: str, key: str) -> str:
        """What stands for a password in the fingerprint of a request, which is kept for a day.

        It is the same for the same idempotency key, and as hard to try passwords on as the hash itself.
        """
        from argon2.low_level import Type, hash_secret_raw

        salt = hashlib.sha256(b"akidb idempotency\0" + key.encode()).digest()[:SALT_BYTES]
        passes, memory, lanes = self._cost
        with self._turn():
            tag = hash_secret_raw(_prepared(password), salt, passes, memory, lanes, TAG_BYTES, Type.ID)
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
        """A hash of today's parameters that nobody knows a password for."""
        passes, memory, lanes = self._cost
        salt, tag = (_base64(secrets.token_bytes(size)) for size in (SALT_BYTES, TAG_BYTES))
        return f"$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${tag}"

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One of the few places for hashing. Raises Overloaded when none comes free in time."""
        from argon2.exceptions import HashingError, VerificationError

        if not self._turns.acquire(timeout=TURN_TIMEOUT_SECONDS):
            raise Overloaded("password")
        try:
            yield
        except (HashingError, VerificationError) as error:  # no memory, no threads
            raise Unavailable(f"a password cannot be hashed: {error}") from None
        finally:
            self._turns.release()


def _prepared(password: str) -> bytes:
    """The bytes of a password, the same however its letters were composed (NFC, as in RFC 8265, 4.2)."""
    return unicodedata.normalize("NFC", password).encode()


def _base64(value: bytes) -> str:
    """Without padding, as in the text of a hash."""
    return base64.b64encode(value).decode().rstrip("=")
