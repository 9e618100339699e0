"""The vocabulary of AkiDB: identifiers, entities, lifecycles, filters, errors.

Nothing here reads a file, a clock or a socket; everything above may rely on it.
"""
