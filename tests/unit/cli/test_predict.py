"""Events from the command line to tensors of the serving protocol, and back."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.cli.commands.predict import read_events
from headrace.client.predict import predictions, tensors
from headrace.runtime.errors import ConfigError, DataError

INPUTS = [
    {"name": "id", "datatype": "BYTES", "shape": [-1, 1]},
    {"name": "x", "datatype": "FP64", "shape": [-1, 1]},
    {"name": "tags", "datatype": "BYTES", "shape": [-1, 1]},
    {"name": "window", "datatype": "FP64", "shape": [-1, -1]},
]


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "a"}\n{"id": "b"}\n',
        '[{"id": "a"}, {"id": "b"}]',
    ],
)
def test_several_events(text: str, tmp_path: Path) -> None:
    assert read_events(text) == [{"id": "a"}, {"id": "b"}]
    file = tmp_path / "events.json"
    file.write_text(text)
    assert read_events(f"@{file}") == [{"id": "a"}, {"id": "b"}]


def test_one_event_over_several_lines() -> None:
    assert read_events('{\n  "id": "a",\n  "where": {"x": 1}\n}') == [{"id": "a", "where": {"x": 1}}]


@pytest.mark.parametrize("text", ["{id: 1}", "", "[]", "[1]", "3", "@/no/such/file"])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--event"):
        read_events(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"id": "a", "x": NaN}', "--event: not JSON: x: NaN, expected a finite number"),
        ('[{"x": 1}, {"x": Infinity}]', "--event: not JSON: event 1: x: Infinity, expected a finite number"),
        ('{"x": 1}\n{"x": 1e999}\n', "--event: not JSON: event 1: x: 1e999, expected a finite number"),
    ],
)
def test_a_number_that_json_does_not_have_is_named_by_event_and_field(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_events(text)
    assert error.value.message == says


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e.json").write_bytes('{"id": "ü"}'.encode("latin-1"))
    with pytest.raises(ConfigError, match="--event: not JSON: not UTF-8"):
        read_events(f"@{tmp_path / 'e.json'}")


def test_events_become_a_tensor_a_field() -> None:
    events = [
        {"id": "a", "x": 1, "tags": ["p"], "window": [1.0, 2.0]},
        {"id": "b", "x": 2.5, "tags": [], "window": [3.0, 4.0]},
    ]
    assert tensors(events, INPUTS) == [
        {"name": "id", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "b"]},
        {"name": "x", "datatype": "FP64", "shape": [2, 1], "data": [1, 2.5]},
        {"name": "tags", "datatype": "BYTES", "shape": [2, 1], "data": ['["p"]', "[]"]},
        {"name": "window", "datatype": "FP64", "shape": [2, 2], "data": [[1.0, 2.0], [3.0, 4.0]]},
    ]


def test_what_no_event_has_is_not_sent() -> None:
    assert [t["name"] for t in tensors([{"id": "a"}], INPUTS)] == ["id"]


def test_unknown_fields_and_uneven_events_are_named() -> None:
    with pytest.raises(DataError, match="no field 'y'"):
        tensors([{"y": 1}], INPUTS)
    with pytest.raises(DataError, match="some events have 'x'"):
        tensors([{"id": "a", "x": 1}, {"id": "b"}], INPUTS)


def test_answers_an_event_a_line() -> None:
    answer = {
        "model_name": "toy", "model_version": "7",
        "outputs": [{"name": "minutes", "data": [1.5, 2.5]}, {"name": "late", "data": [False, True]}],
    }  # fmt: skip
    assert predictions(answer) == [
        {"minutes": 1.5, "late": False, "model": "toy", "version": 7},
        {"minutes": 2.5, "late": True, "model": "toy", "version": 7},
    ]


class Server(http.server.BaseHTTPRequestHandler):
    """A v2 server of one model, `toy`, that doubles x."""

    seen: ClassVar[list[Any]] = []

    def do_GET(self) -> None:
        self.answer(200, {"name": "toy", "inputs": INPUTS[:2]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        by_name = {t["name"]: t["data"] for t in body["inputs"]}
        if "id" not in by_name:
            self.answer(400, {"error": "expected input 'id'"})
            return
        output = {"name": "prediction", "data": [2 * x for x in by_name["x"]]}
        self.answer(200, {"model_name": "toy", "model_version": "3", "outputs": [output]})

    def answer(self, status: int, body: Any) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def toy(tmp_path: Path) -> str:
    (tmp_path / "pipeline.yaml").write_text("name: toy\nmodel: model.py:Toy\n")
    return str(tmp_path)


def test_the_command_asks_the_server_and_prints_a_line_an_event(url: str, toy: str) -> None:
    events = '[{"id": "a", "x": 1}, {"id": "b", "x": 2}]'
    result = CliRunner().invoke(application(), ["predict", toy, "--url", url, "--event", events])
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in result.output.splitlines()] == [
        {"prediction": 2, "model": "toy", "version": 3},
        {"prediction": 4, "model": "toy", "version": 3},
    ]


def test_a_refusal_is_told_in_the_servers_words(url: str, toy: str) -> None:
    result = CliRunner().invoke(application(), ["predict", toy, "--url", url, "--event", '{"x": 1}'])
    assert result.exit_code == 5
    assert "the model says: expected input 'id'" in result.output


def test_nobody_there(toy: str) -> None:
    result = CliRunner().invoke(application(), ["predict", toy, "--url", "http://127.0.0.1:1", "--event", '{"x": 1}'])
    assert result.exit_code == 3
    assert "no answer from http://127.0.0.1:1" in result.output
