"""The error for a transaction that a store aborted because of a conflict."""

from akidb.domain.errors import Unavailable


class TransactionConflict(Unavailable):
    """The transaction had no effect and can be retried.

    The services retry it. Callers see it, as an Unavailable, only under unusual contention.
    """
