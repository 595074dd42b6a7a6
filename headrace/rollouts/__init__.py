"""Rollouts: what directives mean, the state of each version, and what workers report of it."""
