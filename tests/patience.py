"""How long tests wait for what must come, and waiting for it."""

import asyncio
import time
from collections.abc import Callable

WAIT_S = 120.0
"""A machine may be ten times slower than usual for a while: whoever gives up sooner tests its speed."""


def wait_for(condition: Callable[[], object]) -> None:
    """Return once it holds."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


async def eventually(condition: Callable[[], object]) -> None:
    """Return once it holds, while the event loop goes on."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)
