"""What every process needs: settings, secrets, logs, metrics, the life of a role, errors, Kafka clients."""
