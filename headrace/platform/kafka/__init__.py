"""The embedded Apache Kafka: its jars, Java runtime, settings, storage and process."""
