"""How requests wait and are executed together."""
