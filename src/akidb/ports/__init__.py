"""Protocols of what the services need; adapters implement them, tests run each adapter through one suite."""
