"""The page's files, as a browser is given them."""

import re
from posixpath import dirname, join, normpath

import httpx
from fastapi import FastAPI

from services.gateway.page.files import POLICY, add_page, load

IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""")


def client() -> httpx.AsyncClient:
    app = FastAPI()
    add_page(app)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


async def test_the_page_carries_a_policy_that_forbids_whatever_is_not_its_own() -> None:
    answer = await client().get("/")
    assert answer.headers["content-security-policy"] == POLICY
    assert "unsafe" not in POLICY
    assert answer.headers["content-type"].startswith("text/html")


async def test_an_unchanged_file_is_not_sent_again() -> None:
    first = await client().get("/page/app.js")
    again = await client().get("/page/app.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_no_other_file_is_reached() -> None:
    for path in ("/page/../files.py", "/page/%2e%2e/files.py", "/page/nothing.js", "/page/"):
        assert (await client().get(path)).status_code == 404


def test_every_file_that_a_script_imports_is_there() -> None:
    known = load()
    for name, file in known.items():
        if not name.endswith(".js"):
            continue
        for path in IMPORT.findall(file.content.decode()):
            assert normpath(join(dirname(name), path)) in known, f"{name} imports {path}"


def test_nothing_names_another_host() -> None:
    addresses = re.compile(rb"https?://(?!www\.w3\.org/)")
    assert [name for name, file in load().items() if addresses.search(file.content)] == []
