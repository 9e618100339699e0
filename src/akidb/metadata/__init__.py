"""The metadata store: tenants, databases, collections, audit, and the outbox to the tenant stores.

It implements `akidb.ports.metadata` on SQLAlchemy Core. It never touches a tenant's documents.
"""
