"""Operations and repository calls as spans of OpenTelemetry, for whatever the application traces with.

Loaded only when tracing is on. It makes spans; where they go is up to who set the tracer provider.
"""

import time
from functools import cache
from typing import Any

from akidb.domain.errors import InvalidArgument
from akidb.observe import context as request_context
from akidb.observe.telemetry import OK, Call, End, Queue, StoreKind

try:
    from opentelemetry import context, trace
except ImportError:
    raise InvalidArgument("tracing", "needs OpenTelemetry: pip install 'akidb[tracing]'") from None

NAME = "akidb"


class Tracing:
    """Makes a span of what is reported. One for the process: `tracing`."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(NAME)

    def begin(self, operation: str) -> End:
        """Begin the span of an operation; what is called within is its child."""
        span = self._tracer.start_span(f"{NAME}.{operation}", attributes=_known())
        token = context.attach(trace.set_span_in_context(span))

        def end(seconds: float, code: str) -> None:  # noqa: ARG001 - a span has a clock of its own
            context.detach(token)
            span.set_attributes(_known())  # by now the tenant is known
            mark(span, code)
            span.end()

        return end

    def called(self, call: Call, seconds: float, code: str) -> None:
        """Make the span of a call that has just ended."""
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
        """Note in the operation's span how long it took to pass a queue."""
        trace.get_current_span().add_event(
            f"{queue} passed", {"akidb.store": store, "akidb.wait_seconds": seconds}
        )

    def counted(self, counter: str, label: str, amount: int) -> None:
        """Note in the operation's span that something happened."""
        trace.get_current_span().add_event(counter, {"akidb.of": label, "akidb.amount": amount})


def mark(span: Any, code: str) -> None:
    """Note the error with which what the span is of ended."""
    if code != OK:
        span.set_attribute("error.type", code)
        span.set_status(trace.StatusCode.ERROR)


def _known() -> dict[str, str]:
    """What is known of the work at hand: IDs alone."""
    known = {}
    if (tenant_id := request_context.tenant_id()) is not None:
        known["akidb.tenant_id"] = str(tenant_id)
    if (request_id := request_context.current().request_id) is not None:
        known["akidb.request_id"] = request_id
    return known


@cache
def tracing() -> Tracing:
    """The one of this process."""
    return Tracing()
