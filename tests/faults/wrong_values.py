"""Wrong values for each column of each table of a tenant's file, put in past all constraints."""

from contextlib import closing
from pathlib import Path

from akidb.documents.schema import STEPS
from akidb.sql.sqlite_library import library

INTEGERS = {
    "low bit": "({c} | 1) - ({c} & 1)",
    "high bit": "{c} + 1099511627776",
    "sign": "-{c} - 1",
    "blob": "x'ff00'",
    "text": "'abc'",
    "null": "NULL",
}
TEXTS = {
    "letter": "char(unicode(substr({c}, 1, 1)) + 1) || substr({c}, 2)",
    "encoding": "CAST(x'ff41' AS TEXT)",
    "blob": "x'ff41'",
    "empty": "''",
    "null": "NULL",
}
BLOBS = {
    "byte": "CAST(x'07' || substr({c}, 2) AS BLOB)",
    "short": "substr({c}, 1, length({c}) - 1)",
    "text": "'abc'",
    "null": "NULL",
}
OF_TYPE = {"INTEGER": INTEGERS, "TEXT": TEXTS, "BLOB": BLOBS}
USUAL = {"low bit", "letter", "byte"}
"""The rest is tried by the long tests."""


def store_of(directory: Path) -> Path:
    [path] = (directory / "tenants").glob("*.db")
    return path


def columns(path: Path, table: str) -> list[tuple[str, str]]:
    with closing(library.connect(path)) as connection:
        return [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table})")]


def put(path: Path, table: str, column: str, expression: str) -> bool:
    """Put a wrong value into one row, past all constraints but those of indexes; return whether that went."""
    with closing(library.connect(path, isolation_level=None)) as connection:
        [(declared,)] = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,))
    for sql in (declared.replace("STRICT, ", "").replace("STRICT", "").replace(" NOT NULL", ""), declared):
        with closing(library.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA writable_schema=ON")
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, table))
        if sql == declared:
            return True
        with closing(library.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute("PRAGMA ignore_check_constraints=ON")
            where = {"documents": "id = 'x1' AND collection_key = 1", "control": "true"}.get(table)
            if where is None:
                first = "sequence" if table == "tombstones" else "rowid"
                where = f"{first} = (SELECT min({first}) FROM {table})"
            try:
                connection.execute(f"UPDATE {table} SET {column} = {expression} WHERE {where}")
            except library.IntegrityError:  # of an index, or of the type of a row's number
                return False
    return False


def tables() -> list[str]:
    statements = " ".join(step for one in STEPS for step in one.forward)
    return [
        word
        for word in ("control", "collections", "documents", "tombstones", "remembered_answers")
        if word in statements
    ]
