"""Rivals on the same events and labels. They run in an environment of their own, see rivals.in."""
