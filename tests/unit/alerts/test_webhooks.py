"""One POST to a webhook, over HTTP: signed, in time, and never somewhere else."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from headrace.alerts.webhooks import DeliveryError, Webhook, body_of, post, signature


class Answering:
    """Answers with `status`, and keeps the paths and headers of what came."""

    def __init__(self) -> None:
        self.status, self.seen = 200, list[tuple[str, dict[str, str], bytes]]()
        answering = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                answering.seen.append((self.path, dict(self.headers), body))
                self.send_response(answering.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?team=a"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()


@pytest.fixture
def answering() -> Iterator[Answering]:
    made = Answering()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def test_the_body_is_signed_with_the_time(answering: Answering) -> None:
    body = body_of("rides", [{"id": "rides/error_drift"}], 1_800_000_000.0)
    post(Webhook("ops", answering.url, secret="s3cret"), body, "0-1-1", 1_800_000_000.5)
    path, headers, came = answering.seen[0]
    assert path == "/hook?team=a"
    assert json.loads(came)["alerts"] == [{"id": "rides/error_drift"}]
    assert headers["X-Headrace-Timestamp"] == "1800000000"
    assert headers["X-Headrace-Signature"] == signature("s3cret", "1800000000", came)
    assert headers["X-Headrace-Delivery"] == "0-1-1"


def test_without_a_secret_nothing_is_signed(answering: Answering) -> None:
    post(Webhook("ops", answering.url), b"{}", "d", 0.0)
    assert "X-Headrace-Signature" not in answering.seen[0][1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(answering: Answering, status: int) -> None:
    answering.status = status
    with pytest.raises(DeliveryError, match="a redirect, which is not followed") as error:
        post(Webhook("ops", answering.url), b"{}", "d", 0.0)
    assert error.value.lasting
    assert [path for path, *_ in answering.seen] == ["/hook?team=a"]


@pytest.mark.parametrize(("status", "lasting"), [(500, False), (429, False), (404, True), (401, True)])
def test_a_refusal_is_an_error_that_lasts_or_does_not(answering: Answering, status: int, lasting: bool) -> None:
    answering.status = status
    with pytest.raises(DeliveryError, match=str(status)) as error:
        post(Webhook("ops", answering.url), b"{}", "d", 0.0)
    assert error.value.lasting is lasting


def test_no_answer_in_time_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = Webhook("ops", f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.05)
        with pytest.raises(DeliveryError, match="no answer"):
            post(hook, b"{}", "d", 0.0)


def test_a_webhook_shows_neither_its_address_nor_its_secret() -> None:
    assert "s3cret" not in repr(Webhook("ops", "http://x/t0ken", "s3cret"))
    assert "t0ken" not in repr(Webhook("ops", "http://x/t0ken", "s3cret"))
