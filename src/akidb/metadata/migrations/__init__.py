"""Alembic's folder: one numbered migration in `versions` for each released schema of the metadata store."""
