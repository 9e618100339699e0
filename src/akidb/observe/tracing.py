"""Operations and repository calls as OpenTelemetry spans.

Loaded only when tracing is on. Spans go to the tracer provider that the application configured.
"""

import time
from functools import cache
from typing import Any

from akidb.domain.extras import needing_extras
from akidb.observe import context as request_context
from akidb.observe.telemetry import OK, Call, End, Queue, StoreKind

with needing_extras():
    from opentelemetry import context, trace

NAME = "akidb"


class Tracing:
    """Listener that creates spans. One per process: `tracing`."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(NAME)

    def begin(self, operation: str) -> End:
        """Start the span of an operation; calls within it become child spans."""
        span = self._tracer.start_span(f"{NAME}.{operation}", attributes=_known())
        token = context.attach(trace.set_span_in_context(span))

        def end(seconds: float, code: str) -> None:  # noqa: ARG001 - a span has its own clock
            context.detach(token)
            span.set_attributes(_known())  # by now the tenant is known
            mark(span, code)
            span.end()

        return end

    def called(self, call: Call, seconds: float, code: str) -> None:
        """Create the span of a call that has just ended."""
        ended = time.time_ns()
        span = self._tracer.start_span(
            f"{call.store}.{call.repository}.{call.operation}",
            kind=trace.SpanKind.CLIENT,
            attributes={"db.system": call.system, **_known()},
            start_time=ended - int(seconds * 1e9),
        )
        mark(span, code)
        span.end(ended)

    def waited(self, queue: Queue, store: StoreKind, seconds: float) -> None:
        """Add an event with the queue wait to the operation's span."""
        trace.get_current_span().add_event(
            f"{queue} passed", {"akidb.store": store, "akidb.wait_seconds": seconds}
        )

    def counted(self, counter: str, label: str, amount: int) -> None:
        """Add an event for a counter to the operation's span."""
        trace.get_current_span().add_event(counter, {"akidb.of": label, "akidb.amount": amount})


def mark(span: Any, code: str) -> None:
    """Set the error status of a span, unless the code is `OK`."""
    if code != OK:
        span.set_attribute("error.type", code)
        span.set_status(trace.StatusCode.ERROR)


def _known() -> dict[str, str]:
    """Return the known attributes of the current work: only IDs."""
    known = {}
    if (tenant_id := request_context.tenant_id()) is not None:
        known["akidb.tenant_id"] = str(tenant_id)
    if (request_id := request_context.current().request_id) is not None:
        known["akidb.request_id"] = request_id
    return known


@cache
def tracing() -> Tracing:
    """Return the tracing listener of this process."""
    return Tracing()
