"""The metadata store: tenants, databases, collections, audit log, and the outbox to the tenant stores.

Implements `akidb.ports.metadata` on SQLAlchemy Core. It never accesses documents.
"""
