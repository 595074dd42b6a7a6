"""POST .../infer without a framework: from uvicorn's parser to the model and back, with no task for a request.

Whatever is not the plain case goes to the ASGI app, whose route `infer` answers the same: a request that follows
another before its answer (pipelining), an unusual URL, HTTP/1.0, `Expect: 100-continue`, a client that does not read.
"""

from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from headrace.contracts.access import Scope
from headrace.runtime.access.errors import Refused
from headrace.runtime.access.guard import Guard, credential_of
from headrace.runtime.logging import get_logger
from services.inference.oip.messages import InvalidRequest, ModelFailed, OipError
from services.inference.oip.rest_codec import (
    MAX_BODY,
    BinaryOutputs,
    decompress,
    parse_infer,
)
from services.inference.rpc.batching.jobs import Job, Outcome
from services.inference.rpc.models.registry import Registry
from services.inference.rpc.observe.observer import GONE, Observer, Seen
from services.inference.rpc.observe.report import Incoming
from services.inference.rpc.rest.answers import Headers, answer_headers, error_headers
from services.inference.rpc.rest.binary import Admitted, BinaryRequests
from services.inference.rpc.served import Served

log = get_logger("headrace.rpc")


ROUTE = "POST /v2/models/{model}/infer"

_START, _END = b"/v2/models/", b"/infer"
_KNOWN_URLS = 256


class _Request:
    """One request; for uvicorn's protocol it is a "cycle", and its own "message event".

    It must not refer to itself: reference counts could then not free it, and the garbage collector would stop all
    requests for as long as it takes to find thousands of them.
    """

    def __init__(self, protocol: "InferProtocol", model: str, version: str, headers: Headers) -> None:
        self.response_complete = self.disconnected = False
        self.keep_alive = True
        self._protocol, self._model, self._version = protocol, model, version
        self._fields = dict(reversed(headers))  # of two with one name the first counts, as in the framework
        self._body: list[bytes] = []
        self._size = 0
        self._binary = BinaryOutputs()
        self._served: Served | None = None
        self._job: Job | None = None
        self._seen: Seen | None = None

    @property
    def message_event(self) -> "_Request":
        """Whose `set` uvicorn calls."""
        return self

    def set(self) -> None:
        """What uvicorn calls when the connection is gone."""
        if self.disconnected and self._job is not None and self._served is not None and not self.response_complete:
            self.response_complete = True
            self._served.cancel(self._job)
            if self._seen is not None:
                self._seen.cancelled(GONE)

    def add(self, body: bytes) -> None:
        """Take a part of the body."""
        self._size += len(body)
        if self._size > MAX_BODY:
            self.keep_alive = False
            if self._protocol.observer is not None and not self.response_complete:
                self._begin(self._protocol.observer)
            self._refuse(InvalidRequest(f"the body is larger than {MAX_BODY} bytes"))
        elif not self.response_complete:
            self._body.append(body)

    def complete(self) -> None:
        """The request is whole: have it answered."""
        if self.response_complete:
            return
        fields, protocol = self._fields, self._protocol
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        if protocol.observer is not None:
            self._begin(protocol.observer)
        try:
            body = decompress(body, _text(fields, b"content-encoding").lower())
            length = _text(fields, b"inference-header-content-length")
            known = protocol.binary.find(self._model, self._version, body, length) if length else None
            if known is not None:
                like, self._binary, table, identifier = known
                self._served = like.served
                self._job = like.repeats.resubmit(like.request, table, self._deliver, identifier, protocol.peer)
            else:
                self._submit(body, length)
            if self._seen is not None and self._job is not None:
                self._seen.attach(self._job)
        except OipError as error:
            self._refuse(error)
        except Exception as error:
            log.exception("a request failed")
            self._broken(error)

    def _submit(self, body: bytes, length: str) -> None:
        protocol = self._protocol
        models = protocol.models
        self._served = served = models.find(self._model)
        request, self._binary = parse_infer(
            self._model,
            self._version,
            body,
            length or None,
            served.inputs,
            plain=served.plain_json,
            regions=models.regions,
        )
        self._job = job = served.submit(request, self._deliver, protocol.peer)
        if length and request.table is None:
            protocol.binary.learn(request, self._binary, body, at=int(length), job=Admitted(job.table, served))

    def _begin(self, observer: Observer) -> None:
        fields = self._fields
        said = (self._protocol.peer, self._size, self._model, self._version)
        self._seen = observer.begin(lambda name: _text(fields, name.encode()), lambda: Incoming("rest", ROUTE, *said))

    def _deliver(self, outcome: Outcome) -> None:
        try:
            if isinstance(outcome, OipError):
                self._refuse(outcome)
            else:
                headers, body = answer_headers(outcome, self._binary, _text(self._fields, b"accept-encoding"))
                self._write(200, headers, body, outcome)
        except OipError as error:
            self._refuse(error)
        except Exception as error:
            log.exception("a request failed")
            self._broken(error)

    def _refuse(self, error: OipError) -> None:
        self._write(error.http, *error_headers(error), error)

    def _broken(self, error: Exception) -> None:
        said = f"internal error: {type(error).__name__}"
        body = orjson.dumps({"error": said})
        self._write(500, [(b"content-type", b"application/json")], body, ModelFailed(said))

    def _write(self, status: int, headers: Headers, body: bytes, outcome: Outcome) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        self._protocol.respond(status, headers, body, keep_alive=self.keep_alive)
        if self._seen is not None:
            self._seen.answered(outcome, status, len(body))


class InferProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers the plain case itself. See `protocol_for`."""

    models: Registry
    observer: Observer | None
    guard: Guard | None
    binary: BinaryRequests
    peer = ""
    _urls: dict[bytes, tuple[str, str] | None]

    def on_headers_complete(self) -> None:
        """Route the request."""
        names = self._names() if self.parser.get_method() == b"POST" else None
        if names is None or not self._plain() or not self._admitted():
            super().on_headers_complete()
            return
        self.peer = f"{self.client[0]}:{self.client[1]}" if self.client else ""
        self.cycle = _Request(self, *names, self.headers)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        cycle: Any = self.cycle
        if isinstance(cycle, _Request):
            cycle.add(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        cycle: Any = self.cycle
        if isinstance(cycle, _Request):
            cycle.complete()
        else:
            super().on_message_complete()

    def respond(self, status: int, headers: Headers, body: bytes, *, keep_alive: bool) -> None:
        """Write a response and go on with the next request."""
        if self.transport.is_closing():
            return
        parts = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n\r\n" % len(body) if keep_alive else _closing(body))
        parts.append(body)
        self.transport.write(b"".join(parts))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _admitted(self) -> bool:
        """Whether the caller may predict; if not, or if that takes time to find out, the app's guard answers."""
        if self.guard is None:
            return True
        fields = dict(reversed(self.headers))
        credential = credential_of(_text(fields, b"authorization"), _text(fields, b"x-api-key"))
        try:
            caller = self.guard.known(credential)
            if caller is None:
                return False
            self.guard.allow(caller, Scope.PREDICT)
        except Refused:
            return False
        return True

    def _plain(self) -> bool:
        parser: Any = self.parser
        cycle: Any = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
        )

    def _names(self) -> tuple[str, str] | None:
        """The model and version of an infer URL; None for others."""
        url = self.url
        if url not in self._urls:
            if len(self._urls) >= _KNOWN_URLS:
                self._urls.clear()
            self._urls[url] = _parse_url(url)
        return self._urls[url]


def protocol_for(models: Registry, observer: Observer | None = None, guard: Guard | None = None) -> type[InferProtocol]:
    """The protocol, for these models; `observer` is shown the requests, and `guard` says who may make them."""
    bound: dict[str, Any] = {
        "models": models, "observer": observer, "guard": guard, "binary": BinaryRequests(), "_urls": {},
    }  # fmt: skip
    return type("BoundInferProtocol", (InferProtocol,), bound)


def _parse_url(url: bytes) -> tuple[str, str] | None:
    if not url.startswith(_START) or not url.endswith(_END) or b"%" in url or b"?" in url or not url.isascii():
        return None
    match url[len(_START) : -len(_END)].decode().split("/"):
        case [model] if model:
            return model, ""
        case [model, "versions", version] if model and version:
            return model, version
    return None


def _text(fields: dict[bytes, bytes], name: bytes) -> str:
    return fields.get(name, b"").decode("latin-1")


def _closing(body: bytes) -> bytes:
    return b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
