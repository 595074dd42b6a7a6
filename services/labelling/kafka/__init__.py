"""The role's edges to Kafka: its state and the labels, what it reads, and single events."""
