"""The fields of records, and records to columns."""
