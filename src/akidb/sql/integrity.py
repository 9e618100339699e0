"""The integrity checks that SQLite itself offers."""

import sqlalchemy as sa


def check_integrity(connection: sa.Connection) -> list[str]:
    """Return the faults that SQLite finds in the file; always empty on PostgreSQL."""
    if connection.dialect.name != "sqlite":
        return []
    found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check") if row[0] != "ok"]
    return found + broken_references(connection)


def broken_references(connection: sa.Connection) -> list[str]:
    """Return the broken foreign keys of a SQLite file."""
    return [
        f"row {row[1]} of {row[0]} refers to a missing row of {row[2]}"
        for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
    ]
