"""Bringing versions into this host's shared memory: from the stores, from other agents and from other slots."""
