"""An OpenTelemetry span for each request, and the export of a server's spans.

Loaded only when tracing is on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from akidb.api.request_record import RequestRecord
from akidb.domain.extras import needing_extras
from akidb.observe import context as request_context
from akidb.observe.tracing import NAME, mark

from opentelemetry import propagate, trace  # isort: skip - akidb.observe.tracing reports if it is missing


class ServerTracing:
    """Creates the spans of requests."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer(NAME)

    @contextmanager
    def span(self, scope: Any, exchange: RequestRecord) -> Iterator[str]:
        """Run a request in a span, a child of the one in `traceparent`; yield the trace ID."""
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"]
        with self._tracer.start_as_current_span(
            method,
            context=propagate.extract(carrier),
            kind=trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "akidb.request_id": exchange.request_id},
            record_exception=False,  # its message may quote a tenant's texts
        ) as span:
            try:
                yield f"{span.get_span_context().trace_id:032x}"
            finally:
                if route := scope.get("path_template"):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", exchange.status)
                if (tenant_id := request_context.tenant_id()) is not None:
                    span.set_attribute("akidb.tenant_id", str(tenant_id))
                if exchange.status >= 500:
                    mark(span, exchange.code or str(exchange.status))
                elif exchange.code is not None:  # a client error, not a server error
                    span.set_attribute("error.type", exchange.code)


@contextmanager
def exported() -> Iterator[None]:
    """Export spans to an OTLP collector over HTTP, configured by OpenTelemetry's environment variables.

    Raises Unavailable if the exporter is not installed. An existing tracer provider is kept.
    Pending spans are sent on exit.
    """
    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        yield
        return
    with needing_extras():
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: NAME}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
