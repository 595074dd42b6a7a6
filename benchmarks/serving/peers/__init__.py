"""What runs in the peers' processes, and what their environments have."""
