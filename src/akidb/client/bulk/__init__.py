"""Loads files into a collection, and exports it: JSON lines, Parquet, Arrow. No file is whole in memory."""
