"""What watching costs: `make bench-watching`."""
