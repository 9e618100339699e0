"""Protocols that the services depend on; adapters implement them, one test suite runs on each adapter."""
