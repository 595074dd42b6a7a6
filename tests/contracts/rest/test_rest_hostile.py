"""Every REST service, sent what no client should send: an answer of 4xx each time, and none of them is hurt by it."""

import gzip
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.contracts.rest.rest_services import NAMES, Served, rest_services
from tests.patience import WAIT_S

DEEP = b"[" * 50_000
BODIES = {
    "empty": b"",
    "deep": DEEP,
    "deep objects": b'{"a":' * 50_000,
    "deep and whole": DEEP + b"]" * 50_000,
    "long number": b'{"zone": ' + b"9" * 5000 + b"}",
    "huge exponent": b'{"distance_km": 1e999999999}',
    "NaN": b'{"x": NaN, "y": -Infinity}',
    "keys twice": b'{"trip_id": "a", "trip_id": {}, "inputs": [], "inputs": 1, "parameters": 3, "parameters": "abc"}',
    "lone surrogate": b'{"inputs": ["\\ud800"], "\\udfff": "\\ud800", "key": "\\ud800"}',
    "not UTF-8": b'{"inputs": ["\xff\xfe"], "key": "\xc3"}',
    "NUL": b'{"inputs": ["\\u0000"], "events": "\\u0000", "key": "/\\u0000", "byte_size": 1}',
    "long name": b'{"inputs": ["' + b"n" * 5000 + b'"], "key": "/' + b"k" * 5000 + b'", "byte_size": 1}',
    "long name of an input": b'{"inputs": ["' + b"n" * 5000 + b'"]}',
    "surprising names of inputs": b'{"inputs": ["[", "**/**", "*/../..", "\\\\", "trips.jsonl/x", "~"]}',
    "long name of a file": b'{"data": "files", "events": "' + b"n" * 5000 + b'", "labels": "trips.jsonl"}',
    "other kinds": b'{"inputs": {"a": 1}, "parameters": ["a"], "key": [], "offset": 1e300, "byte_size": true}',
    "parameters of text": b'{"parameters": "abc", "ready": "yes"}',
    "negative": b'{"key": "/k", "offset": -1, "byte_size": -1, "limit": -1, "epochs": -5, "validation": -1e308}',
    "beyond 64 bits": b'{"key": "/k", "offset": 1e400, "byte_size": 18446744073709551615, '
    b'"epochs": 99999999999999999999}',
    "an array": b"[]",
    "null": b"null",
    "settings": b'{"data": "source", "settings": {"learning_rate": "\\u0000", "a": [[[]]]}, '
    b'"options": ["=", "a=b=c", ""]}',
    "encoding": b'{"data": "files", "events": "trips.jsonl", "encoding": "idna", "delimiter": "\\u0000\\u0000"}',
}
TYPES = ("application/json", "application/x-ndjson", "a/b; charset=\xff")
VALUES = ("%00", "%ff", "..%2f..%2fetc%2fpasswd", "n" * 4000, "%ED%A0%80", "%0d%0aset-cookie:x", "1" * 5000)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with rest_services(tmp_path_factory.mktemp("services")) as found:
        yield found


def sound(answer: requests.Response, said: Any) -> None:
    assert answer.status_code < 500 or answer.status_code == 501, f"{said}: {answer.status_code} {answer.content!r}"
    assert b"Traceback" not in answer.content, f"{said}: {answer.content!r}"


def paths(served: Served, name: str, method: str) -> list[str]:
    if name == "monitor":
        return ["/v1/snapshot"]
    document = served.document(name)["paths"]
    return [path for path, methods in document.items() if method in methods]


def filled(path: str, value: str = "trips") -> str:
    for name in ("pipeline", "model", "name", "upload", "job", "region", "version", "queue", "item"):
        path = path.replace(f"{{{name}}}", value)
    return path


@pytest.mark.parametrize("name", NAMES)
def test_no_body_breaks_it(served: Served, name: str) -> None:
    with requests.Session() as session:
        for path, (said, body) in itertools.product(paths(served, name, "post"), BODIES.items()):
            for kind in TYPES if name in ("ingest", "batch") else TYPES[:1]:
                url = served.urls[name] + filled(path)
                answer = session.post(url, data=body, headers={"content-type": kind.encode("latin-1")}, timeout=WAIT_S)
                sound(answer, (path, said, kind))


@pytest.mark.parametrize("name", NAMES)
def test_no_value_in_a_path_a_query_or_a_header_breaks_it(served: Served, name: str) -> None:
    with requests.Session() as session:
        for method in ("get", "post", "delete"):
            for path, value in itertools.product(paths(served, name, method), VALUES):
                headers = {"last-event-id": value, "idempotency-key": value, "traceparent": value, "range": value}
                known = served.document(name)["paths"][path][method] if name != "monitor" else {}
                names = [one["name"] for one in known.get("parameters", ()) if one["in"] == "query"]
                for query in ("", *(f"{query}={value}" for query in names)):
                    url = f"{served.urls[name]}{filled(path, value if not query else 'trips')}?{query}"
                    with session.request(
                        method, url, data=b"{}", headers=headers, stream=True, timeout=WAIT_S
                    ) as answer:
                        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                            sound(answer, (method, path, value[:20], query[:30]))


@pytest.mark.parametrize("name", NAMES)
def test_it_serves_on(served: Served, name: str) -> None:
    path = "/v1/snapshot" if name == "monitor" else "/openapi.json"
    assert requests.get(served.urls[name] + path, timeout=WAIT_S).status_code == 200


def test_compressed_bodies_that_grow_or_break_off_are_refused(served: Served) -> None:
    bomb = gzip.compress(b" " * (20 << 20))
    for body in (bomb, bomb[:100], b"\x1f\x8b", b"", b"plain"):
        for coding in ("gzip", "deflate", "br", "gzip, gzip", "GZIP"):
            url = f"{served.urls['rpc']}/v2/models/trips/infer"
            answer = requests.post(url, data=body, headers={"content-encoding": coding}, timeout=WAIT_S)
            assert answer.status_code in (400, 501), (coding, answer.content)
            assert answer.json()["error"]
