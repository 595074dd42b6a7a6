"""Ingest: records in by REST and gRPC (role `ingest`), and events joined with their labels (role `join`)."""
