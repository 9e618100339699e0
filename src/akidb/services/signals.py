"""In-process notification of listeners about changes of a tenant."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from akidb.domain.ids import TenantId


class Signals:
    """Registry of listeners per tenant."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[TenantId, list[Callable[[], None]]] = {}

    @contextmanager
    def listening(self, tenant_id: TenantId, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` after each change, in the writer's thread, while the block runs."""
        with self._lock:
            self._listeners.setdefault(tenant_id, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                left = self._listeners[tenant_id]
                left.remove(wake)
                if not left:
                    del self._listeners[tenant_id]

    def notify(self, tenant_id: TenantId | None) -> None:
        """Notify listeners of a commit for this tenant."""
        if tenant_id not in self._listeners:  # nearly always
            return
        with self._lock:
            listeners = list(self._listeners.get(tenant_id, ()))
        for wake in listeners:
            wake()
