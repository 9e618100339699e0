"""Metrics, spans, log records and the context of a request. Nothing below knows who listens."""
