"""Composition root: opens a data directory or database and wires all adapters and services together."""
