"""How a server shares the limit on open files (`ulimit -n`) between its stores and its clients."""

import resource

from akidb.deployment.places import DESCRIPTORS_PER_STORE, OTHER_DESCRIPTORS

WANTED = 65_536
MIN_CONNECTIONS = 8


def share_descriptors(stores: int, connections: int, *, kept: int) -> tuple[int, int]:
    """Return how many open stores and how many connections the limit permits; both are wanted numbers.

    Stores get at most half of what is left after `kept` and the rest of the process, connections the rest.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return stores, connections
    left = max(0, limit - OTHER_DESCRIPTORS - kept)
    stores = max(1, min(stores, left // 2 // DESCRIPTORS_PER_STORE))
    return stores, max(MIN_CONNECTIONS, min(connections, left - stores * DESCRIPTORS_PER_STORE))


def raise_limit() -> None:
    """Raise the soft limit to the hard one, but not beyond 65,536."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
