"""What is gathered of a run, from files and addresses."""

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts.snapshot import Counts, Snapshot
from headrace.launch.observe import LogLine, Logs, endpoint, parse, read_snapshot
from headrace.launch.run_status import roles_of
from headrace.launch.specs import RoleStatus, State
from headrace.runtime.http import fetch


class Answer(http.server.BaseHTTPRequestHandler):
    body = msgspec.json.encode(Snapshot("flights", 1, 0, counts=Counts(events=7)))

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v1/snapshot" else 503)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def monitor(address: str) -> RoleStatus:
    return RoleStatus("monitor", "monitor", 1, State.READY, 0, None, {"rest": address}, 0.0)


def test_a_snapshot_comes_from_the_monitors_address(address: str) -> None:
    seen = read_snapshot([monitor(address)])
    assert seen is not None
    assert seen.counts.events == 7


def test_no_monitor_no_answer_no_sense_are_no_snapshot(address: str) -> None:
    assert read_snapshot([]) is None
    assert read_snapshot([monitor("http://127.0.0.1:1")]) is None
    assert fetch(f"{address}/other") is None
    assert endpoint([monitor(address)], "monitor", "grpc") is None


def test_a_log_line_without_what_stands_in_front_already() -> None:
    said = "checkpoint      [headrace.ckpt] instance=coordinator new=True role=coordinator version=1"
    at = "2026-11-21T10:19:50.662687Z"
    assert parse("coordinator", f"{at} [info     ] {said}") == LogLine(
        "coordinator", "info", "checkpoint new=True version=1", at
    )
    starting = f"{at} [info     ] starting   [headrace.join] instance=join settings={{'redis_url': 'x'}} version=0.1.0"
    assert parse("join", starting).text == "starting version=0.1.0"
    assert parse("x", "Traceback (most recent call last):", at) == LogLine(
        "x", "", "Traceback (most recent call last):", at
    )


def test_lines_of_several_logs_are_in_the_order_of_time(tmp_path: Path) -> None:
    logs = Logs(tmp_path)
    (tmp_path / "a.log").write_text(
        "2026-01-01T00:00:01Z [info ] first\n2026-01-01T00:00:03Z [error ] third\n  and why\n"
    )
    (tmp_path / "b.log").write_text("2026-01-01T00:00:02Z [info ] second\n2026-01-01T00:00:04Z [info ] fourth\n")
    assert [line.text for line in logs.lines()] == ["first", "second", "third", "  and why", "fourth"]


def test_logs_are_followed_whole_lines_only(tmp_path: Path) -> None:
    old = tmp_path / "old.log"
    old.write_text("of an earlier run\n")
    logs = Logs(tmp_path)
    assert logs.lines() == ()
    with (tmp_path / "trainer.log").open("w") as file:
        file.write("one\ntw")
        file.flush()
        assert [line.text for line in logs.lines()] == ["one"]
        file.write("o\n")
        file.flush()
        assert [line.text for line in logs.lines()] == ["one", "two"]
    with old.open("a") as file:
        file.write("more\n")
    assert [(line.role, line.text) for line in logs.lines()][-1] == ("old", "more")


def run_folder(tmp_path: Path, **roles: str) -> Path:
    folder = tmp_path / "runs" / "demo"
    folder.mkdir(parents=True)
    known = [
        {
            "instance": n,
            "role": n,
            "pid": None,
            "state": s,
            "restarts": 0,
            "exit_code": 0,
            "endpoints": {},
            "since": 0.0,
        }
        for n, s in roles.items()
    ]
    (folder / "supervisor.json").write_text(
        json.dumps({"pid": 999_999_999, "started": 1.0, "updated": 2.0, "roles": known})
    )
    return folder


def test_roles_as_the_supervisor_wrote_them(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, trainer="ready", gateway="failed")
    assert [(r.instance, r.state) for r in roles_of(folder)] == [("trainer", State.READY), ("gateway", State.FAILED)]
    assert roles_of(tmp_path) == []


def test_status_of_a_run_that_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    run_folder(tmp_path, trainer="stopped")
    result = CliRunner().invoke(application(), ["status", "--run-dir", "demo"])
    assert result.exit_code == 3
    assert "demo is not running" in result.output
    assert "trainer" in result.output
    result = CliRunner().invoke(application(), ["status", "--run-dir", "demo", "--json"])
    body = json.loads(result.output)
    assert (body["running"], body["roles"][0]["state"], body["snapshot"]) == (False, "stopped", None)


def test_status_where_nothing_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    result = CliRunner().invoke(application(), ["status"])
    assert result.exit_code == 2
    assert "nothing was started here yet" in result.output


def test_down_of_a_run_that_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path))
    run_folder(tmp_path, trainer="stopped")
    result = CliRunner().invoke(application(), ["down", "--run-dir", "demo"])
    assert (result.exit_code, result.output.strip()) == (0, "demo is not running")
