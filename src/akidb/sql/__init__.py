"""What both kinds of SQL store stand on: connections, the write gate, column types, driver errors.

It knows nothing of tenants or documents.
"""
