"""Integration tests run against the session's real Kafka and Redis (tests/conftest.py)."""
