"""Keyword indexes: BM25 by SQLite's FTS5, in a file of its own for each collection.

`database` is one index, `files` what is at its path, `indexes` all of them, `snippets` marks words in texts.
"""
