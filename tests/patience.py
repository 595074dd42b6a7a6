"""How long tests wait for what must come."""

WAIT_S = 120.0
"""A machine may be ten times slower than usual for a while: whoever gives up sooner tests its speed."""
