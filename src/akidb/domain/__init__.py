"""The vocabulary of AkiDB: identifiers, entities, lifecycles, filters, errors.

Nothing here performs I/O or reads a clock; every other layer may import it.
"""
