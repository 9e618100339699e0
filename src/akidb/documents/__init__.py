"""Tenant stores: documents, vectors, tombstones and exact counters, one store for each tenant.

It implements `akidb.ports.documents`. It never reads the metadata store: what it must know of it lies
in the store's own control row.
"""
