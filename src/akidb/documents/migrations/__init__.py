"""Migrations of the shared tables of tenant stores on PostgreSQL."""
