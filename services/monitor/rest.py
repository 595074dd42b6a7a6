"""The monitor's REST edge: GET /v1/snapshot."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def create_app(snapshot: Callable[[], bytes]) -> Starlette:
    """An ASGI app that answers with the newest snapshot, JSON as `headrace.contracts.snapshot.Snapshot`."""

    async def latest(_: Request) -> Response:
        body = snapshot()
        if not body:
            return Response(b'{"error": "the monitor has read nothing yet"}', 503, media_type="application/json")
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    return Starlette(routes=[Route("/v1/snapshot", latest)])
