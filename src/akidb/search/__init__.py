"""Vector indexes, derived from the rows of tenant stores and rebuilt from them at any time.

Implements `akidb.ports.search`. An index is never authoritative and never writes to a store.
"""
