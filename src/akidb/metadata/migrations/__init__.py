"""Alembic's folder: one numbered step in `versions` for each released schema of the metadata store."""
