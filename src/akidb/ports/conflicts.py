"""What a store says of a transaction that it gave up for another one."""

from akidb.domain.errors import Unavailable


class TransactionConflict(Unavailable):
    """Nothing was done, and it may be run again.

    The services run it again. Who sees this, as an Unavailable, asked at a time of unusual contention.
    """
