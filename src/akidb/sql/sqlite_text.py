"""Changes of the text of a SQLite schema, where a step alters a check and no row."""


def replaced_in_sqlite(table: str, old: str, new: str) -> tuple[str, ...]:
    """Return the statements that replace a part of a table's definition, such as the bound of a check.

    SQLite has no statement for it and documents this way: https://www.sqlite.org/lang_altertable.html#otheralter
    Creating a table makes other connections read the schema again.
    """
    return (
        "PRAGMA writable_schema = ON",
        f"UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{table}'",  # noqa: S608
        "PRAGMA writable_schema = RESET",
        "CREATE TABLE altered_schema (n INTEGER) STRICT",
        "DROP TABLE altered_schema",
    )
