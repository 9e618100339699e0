"""Composition: the one place that knows every adapter. It opens a directory or a database and owns it."""
