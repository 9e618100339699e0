"""Tenant stores: documents, vectors, tombstones and exact counters, one store for each tenant.

Implements `akidb.ports.documents`. It never reads the metadata store: the metadata it needs is in the
control row of the store.
"""
