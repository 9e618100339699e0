"""The basis of both kinds of SQL store: connections, the write gate, column types, driver errors.

It does not know tenants or documents.
"""
