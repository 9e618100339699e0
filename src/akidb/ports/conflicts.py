"""Errors of a store after which the work can be repeated, since it had no effect."""

from akidb.domain.errors import Unavailable


class TransactionConflict(Unavailable):
    """The transaction had no effect and can be retried.

    The services retry it. Callers see it, as an Unavailable, only under unusual contention.
    """


class ConnectionLost(Unavailable):
    """The connection to the database was lost before a commit: nothing was changed.

    The services repeat one transaction or read once. A connection lost during the commit is an Unavailable.
    """
