"""Bodies of requests and responses, for the endpoints that the framework serves."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from services.inference.oip.messages import InvalidRequest
from services.inference.oip.rest_codec import MAX_BODY


async def body_of(request: Request) -> bytes:
    """The whole body.

    Raises:
        InvalidRequest: it is too large; the rest of it is not read.
    """
    parts, size = list[bytes](), 0
    async for part in request.stream():
        size += len(part)
        if size > MAX_BODY:
            raise InvalidRequest(f"the body is larger than {MAX_BODY} bytes")
        parts.append(part)
    return b"".join(parts)


def as_json(content: Any, status: int = 200) -> Response:
    """A response of JSON."""
    return Response(orjson.dumps(content), status, media_type="application/json")
