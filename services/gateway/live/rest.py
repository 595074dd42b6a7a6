"""The page's stream: server-sent events of the sections that it asks for."""

import asyncio
import contextlib
from typing import Annotated

from fastapi import FastAPI, Query, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from headrace.runtime.rest import errors
from services.gateway import metrics
from services.gateway.errors import BadRequestError
from services.gateway.live.board import Board, Page

PATH = "/v1/live"
_MOST_SECTIONS = 20
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


def add_live(app: FastAPI, board: Board) -> None:
    """Add the route."""

    @app.get(
        PATH, summary="Follow sections of what the page shows, as server-sent events",
        response_class=StreamingResponse, responses=errors(400, 404, 429),
    )  # fmt: skip
    async def live(
        sections: Annotated[str, Query(description="names, comma-separated: flow,roles,kafka,rollouts,tail:<topic>")],
    ) -> Response:
        """Each event is named by its section and is all of it as of now, as JSON; a slow reader skips some."""
        names = {name for name in sections.split(",") if name}
        if not names or len(names) > _MOST_SECTIONS:
            raise BadRequestError(f"sections: expected 1 to {_MOST_SECTIONS} names, got {len(names)}")
        return _Live(board, board.open(names))


class _Live(Response):
    """The stream, as plain ASGI: dozens of pages are sent a few frames a second each."""

    def __init__(self, board: Board, page: Page) -> None:
        super().__init__()
        self._board, self._page = board, page

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        metrics.PAGES.inc()
        gone = asyncio.create_task(_gone(receive, self._page))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": b": headrace\n\n", "more_body": True})
            while frames := await self._page.take():
                await send({"type": "http.response.body", "body": frames, "more_body": True})
            if not gone.done():
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the client went away while it was sent something
            pass
        finally:
            self._board.close(self._page)
            metrics.PAGES.dec()
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone


async def _gone(receive: Receive, page: Page) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    page.end()
