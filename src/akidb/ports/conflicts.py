"""Errors of a store that say nothing of what it contains."""

from akidb.domain.errors import Unavailable


class TransactionConflict(Unavailable):
    """The transaction had no effect and can be retried.

    The services retry it. Callers see it, as an Unavailable, only under unusual contention.
    """


class ConnectionLost(Unavailable):
    """The connection to the database was lost before a commit: nothing was changed.

    The services repeat one transaction or read once. A connection lost during the commit is an Unavailable.
    """


class MachineFailure(Unavailable):
    """The machine or the database's server cannot do what was asked; the store in use is not the cause.

    For example too many open files, or a server that is shutting down.
    """
