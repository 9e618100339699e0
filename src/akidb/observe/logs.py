"""Loggers of AkiDB, whose records carry the IDs of their request, tenant and trace.

Records contain only IDs, codes and numbers, never tenant data, names or secrets.
"""

import logging

from akidb.observe import context
from akidb.observe.telemetry import current_trace

logging.getLogger("akidb").addHandler(logging.NullHandler())  # no output by default


class _Circumstances(logging.Filter):
    """Adds `request_id`, `tenant_id` and `trace_id` to each record; None if unknown."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields and return True."""
        request = context.current()
        tenant_id = context.tenant_id()
        trace_id = request.trace_id
        if trace_id is None and (trace := current_trace()) is not None:
            trace_id = trace.trace_id
        record.request_id = request.request_id
        record.tenant_id = None if tenant_id is None else str(tenant_id)
        record.trace_id = trace_id
        return True


_circumstances = _Circumstances()


def logger(name: str) -> logging.Logger:
    """Return a logger with the context filter. Child loggers do not inherit filters, so each gets its own."""
    made = logging.getLogger(name)
    made.addFilter(_circumstances)
    return made
