"""Serves the page's files from memory, with a policy that lets a browser load nothing from anywhere else."""

import hashlib
import mimetypes
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for again each time; unchanged files are answered by 304
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class File:
    """A file of the page."""

    content: bytes
    media_type: str
    tag: str


def load() -> dict[str, File]:
    """Every file by its path, `index.html` and `views/now.js`."""
    return dict(_files(files("services.gateway.page") / "static", ""))


def _files(folder: Traversable, path: str) -> list[tuple[str, File]]:
    found: list[tuple[str, File]] = []
    for one in folder.iterdir():
        name = f"{path}{one.name}"
        if one.is_dir():
            found += _files(one, f"{name}/")
        else:
            content = one.read_bytes()
            kind = _TYPES.get(f".{name.rpartition('.')[2]}") or mimetypes.guess_type(name)[0] or "text/plain"
            tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
            found.append((name, File(content, kind, tag)))
    return found


def add_page(app: FastAPI) -> None:
    """Serve the page at `/`, and its files below `/page/`."""
    known = load()

    def answer(request: Request, path: str) -> Response:
        file = known.get(path)
        if file is None:
            raise HTTPException(404, "Not Found")
        headers = {**_HEADERS, "ETag": file.tag}
        if request.headers.get("if-none-match") == file.tag:
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return answer(request, "index.html")

    @app.get("/page/{path:path}", include_in_schema=False)
    async def page_file(request: Request, path: str) -> Response:
        return answer(request, path)
