"""Handles: the tenants, databases and collections of a connection as objects.

A handle keeps the entity as it was last read or changed through it, and names it by its ID, so that
it goes on working when somebody renames the thing. Handles may be shared by threads.
`akidb.aio` is generated from these modules by `tools/generate_aio.py`.
"""
