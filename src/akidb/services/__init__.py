"""Use cases: the operations of AkiDB, executed in this process. Services own the transactions.

They work on the ports of `akidb.ports`, whose adapters `akidb.deployment` wires together.
"""
