"""A bare ASGI application: what uvicorn costs without any work. `python -m ... PORT BYTES`."""

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

BODY = bytes(int(sys.argv[2]) if len(sys.argv) > 2 else 300)
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"%d" % len(BODY)), (b"content-type", b"application/json")],
}
_BODY = {"type": "http.response.body", "body": BODY}


async def app(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Read the request, and answer with the same bytes."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", access_log=False, log_level="warning")
