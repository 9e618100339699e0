"""Vector indexes, derived from the rows of tenant stores and rebuilt from them at any time.

It implements `akidb.ports.search`. Nothing here is the truth, and nothing here is written to a store.
"""
