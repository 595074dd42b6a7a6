"""Carrying out what the logic asks for: messages to workers in turn, and reports to Kafka together."""
