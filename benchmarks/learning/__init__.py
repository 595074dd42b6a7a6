"""How well a pipeline learns as it is served, beside rivals on the same events, and how fast."""
