"""The role `drift`: drift of inputs, predictions and errors, volume and latency; all alerts, silences and webhooks."""
