"""AkiDB."""
