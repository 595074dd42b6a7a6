"""What every process stands on: settings, logging, metrics, lifecycle, errors, Kafka clients."""
