"""The trainer: learns from examples as they come, and publishes what it knows every few seconds."""
