"""Loggers of AkiDB, whose records say which request and which tenant they belong to.

A record never holds what a tenant wrote, a name or a secret: IDs, codes and figures alone.
"""

import logging

from akidb.observe import context
from akidb.observe.telemetry import current_trace

logging.getLogger("akidb").addHandler(logging.NullHandler())  # nothing is printed unasked


class _Circumstances(logging.Filter):
    """Gives each record `request_id`, `tenant_id` and `trace_id`, None where there is none."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add them; let the record pass."""
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
    """The logger of that name. A filter of a logger does not serve those below it, so each gets it."""
    made = logging.getLogger(name)
    made.addFilter(_circumstances)
    return made
