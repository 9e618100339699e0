"""Metrics, spans, log records and the request context. Instrumented code does not know the listeners."""
