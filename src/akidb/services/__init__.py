"""Use cases: what AkiDB can be asked, carried out in this process. They own the transactions.

It implements `akidb.ports.operations` on the adapters that `runtime` puts together.
"""
