"""Handles: the tenants, databases and collections of a connection as objects.

A handle caches the entity as last read or changed through it, and refers to it by its ID, so that it
stays valid when the entity is renamed. Handles are thread-safe.
`akidb.aio` is generated from these modules by `tools/generate_aio.py`.
"""
