"""The role `batch` as a process of its own: jobs from submission to download, through restarts and cancellation."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.batch.conftest import TRIPS, Batches, batches_of, read, trips, write
from tests.integration.rpc.rpc_process import start, stop
from tests.patience import WAIT_S, wait_for

JOBS = "/v1/batch/jobs"


class Service:
    """A service, and a client of it."""

    def __init__(self, batches: Batches, *flags: str) -> None:
        self.batches, self._flags = batches, flags
        self.inputs = batches.tmp / "in"
        self.inputs.mkdir()
        self.open()

    def open(self) -> None:
        self.process, endpoints = start(
            self.batches.tmp, "--weights", str(self.batches.weights), "--input-dir", str(self.inputs),
            "--job-workers", "1", *self._flags, pipeline=TRIPS, service="batch", role="batch", wanted=2,
        )  # fmt: skip
        self.endpoints = endpoints
        self.client = httpx.Client(base_url=endpoints["rest"], timeout=WAIT_S)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            assert stop(self.process) == 0

    def upload(self, rows: list[dict[str, Any]], key: str = "", **options: Any) -> httpx.Response:
        body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
        headers = {"Content-Type": "application/x-ndjson", **({"Idempotency-Key": key} if key else {})}
        return self.client.post(JOBS, params=options, content=body, headers=headers)

    def state(self, job: str) -> str:
        return self.client.get(f"{JOBS}/{job}").json()["state"]

    def ended(self, job: str) -> dict[str, Any]:
        wait_for(lambda: self.state(job) in ("done", "failed", "cancelled"))
        return self.client.get(f"{JOBS}/{job}").json()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    one = Service(batches_of(TRIPS, tmp_path_factory.mktemp("batch")), "--max-upload-bytes", "10000000")
    yield one
    one.close()


def test_a_job_from_upload_to_download(service: Service, tmp_path: Path) -> None:
    rows = trips(100)
    rows[4]["zone"] = 100
    answer = service.upload(rows, output="csv")
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    assert answer.headers["location"] == f"{JOBS}/{job}"
    with service.client.stream("GET", f"{JOBS}/{job}/events") as events:
        said = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert said[-1]["state"] == "done"
    assert said[-1]["rows"] == {"total": 100, "done": 100, "rejected": 1}
    output = service.client.get(f"{JOBS}/{job}/output")
    assert output.headers["content-type"].startswith("text/csv")
    (tmp_path / "y.csv").write_bytes(output.content)
    del rows[4]
    made = [row["prediction"] for row in read(tmp_path / "y.csv")]
    assert made == pytest.approx(service.batches.by_hand(rows), rel=1e-6)
    (rejected,) = service.client.get(f"{JOBS}/{job}/rejected").text.splitlines()
    assert json.loads(rejected)["field"] == "zone"
    assert job in [one["id"] for one in service.client.get(JOBS, params={"state": "done"}).json()["jobs"]]
    assert service.client.delete(f"{JOBS}/{job}").status_code == 204
    assert service.client.get(f"{JOBS}/{job}").status_code == 404


def test_the_same_key_is_the_same_job_and_another_request_is_refused(service: Service) -> None:
    rows = trips(10)
    first = service.upload(rows, "key-1")
    again = service.upload(rows, "key-1")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["id"] == again.json()["id"]
    assert service.upload(rows[1:], "key-1").status_code == 422
    assert service.upload(rows, "key-1", output="csv").status_code == 422
    other = service.upload(rows, "key-2").json()["id"]
    assert other != first.json()["id"]
    service.ended(other)
    names = sorted(path.name for path in (service.batches.tmp / "storage" / "batch").iterdir())
    assert names == sorted(one["id"] for one in service.client.get(JOBS).json()["jobs"])


def test_files_by_path_and_none_outside(service: Service) -> None:
    write(trips(20), service.inputs / "x.parquet")
    secret = write(trips(1), service.batches.tmp / "secret.parquet")
    (service.inputs / "link.parquet").symlink_to(secret)
    answer = service.client.post(JOBS, json={"inputs": ["x.parquet"]}, params={"output": "jsonl", "columns": "zone"})
    job = answer.json()["id"]
    assert service.ended(job)["rows"]["done"] == 20
    line = json.loads(service.client.get(f"{JOBS}/{job}/output").text.splitlines()[0])
    assert set(line) == {"trip_id", "zone", "prediction"}
    for name in ("../secret.parquet", "link.parquet", str(secret), "*.parquet", "/etc/passwd"):
        assert service.client.post(JOBS, json={"inputs": [name]}).status_code == 403, name
    for path in (f"{JOBS}/..%2f..%2fsecret/output", f"{JOBS}/%2e%2e/output", f"{JOBS}/{'0' * 32}/output"):
        assert service.client.get(path).status_code == 404, path


@pytest.mark.parametrize(
    ("body", "params", "status"),
    [
        (b"{", {}, 400), (b'{"inputs": []}', {}, 400), (b'{"inputs": ["nope.csv"]}', {}, 400),
        (b'{"inputs": ["x"], "more": 1}', {}, 400), (b"[" * 100_000, {}, 400), (b"x", {"input": "xlsx"}, 400),
        (b"x", {"input": "../../x.csv"}, 400), (b"x", {"input": "csv", "delimiter": "ab"}, 400),
        (b"x", {"input": "csv", "output": "xml"}, 400), (b"x", {"input": "csv", "version": "1"}, 400),
        (b"x" * 11_000_000, {"input": "csv"}, 413),
    ],
)  # fmt: skip
def test_requests_that_are_refused_leave_nothing(
    service: Service, body: bytes, params: dict[str, str], status: int
) -> None:
    folder = service.batches.tmp / "storage" / "batch"
    before = set(folder.iterdir())
    answer = service.client.post(JOBS, params=params, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    assert set(folder.iterdir()) == before


def test_a_job_that_fails_says_why(service: Service) -> None:
    answer = service.client.post(JOBS, params={"input": "csv"}, content=b"a,b\n1,2\n")
    ended = service.ended(answer.json()["id"])
    assert ended["state"] == "failed"
    assert "no column trip_id" in ended["error"]
    assert service.client.get(f"{JOBS}/{ended['id']}/output").status_code == 409


def test_documentation_health_and_metrics(service: Service) -> None:
    assert "cdn" not in service.client.get("/docs").text
    paths = service.client.get("/openapi.json").json()["paths"]
    assert f"{JOBS}/{{job}}/events" in paths
    ops = service.endpoints["ops"]
    assert httpx.get(f"{ops}/readyz").json()["ready"]
    assert "headrace_batch_submitted_jobs_total" in httpx.get(f"{ops}/metrics").text


def long_job(service: Service) -> str:
    job = service.upload(trips(30_000), columns="zone").json()["id"]
    wait_for(lambda: service.client.get(f"{JOBS}/{job}").json()["rows"]["done"] > 0)
    return str(job)


def test_cancelling_stops_the_process_and_a_waiting_job_at_once(service: Service) -> None:
    running = long_job(service)
    waiting = service.upload(trips(5)).json()["id"]
    assert service.state(waiting) == "waiting"
    assert service.client.post(f"{JOBS}/{waiting}/cancel").json()["state"] == "cancelled"
    assert service.client.post(f"{JOBS}/{running}/cancel").json()["state"] in ("cancelling", "cancelled")
    assert service.ended(running)["state"] == "cancelled"
    left = {path.name for path in (service.batches.tmp / "storage" / "batch" / running).iterdir()}
    assert left == {"record.json", "job.json", "upload.jsonl"}
    assert service.client.get(f"{JOBS}/{running}/output").status_code == 409
    assert service.client.post(f"{JOBS}/{running}/cancel").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_jobs_survive_a_restart_of_the_service(tmp_path: Path, number: signal.Signals) -> None:
    service = Service(batches_of(TRIPS, tmp_path))
    try:
        running = long_job(service)
        waiting = service.upload(trips(5), "key").json()["id"]
        service.process.send_signal(number)
        service.process.wait(WAIT_S)
        service.client.close()
        service.open()
        assert service.upload(trips(5), "key").json()["id"] == waiting
        assert service.ended(running)["state"] == "done"
        assert service.ended(waiting)["state"] == "done"
        lines = service.client.get(f"{JOBS}/{running}/output").content
        (tmp_path / "y.parquet").write_bytes(lines)
        assert [row["trip_id"] for row in read(tmp_path / "y.parquet")] == [f"t{i}" for i in range(30_000)]
    finally:
        service.close()


def test_no_more_jobs_wait_than_may(tmp_path: Path) -> None:
    service = Service(batches_of(TRIPS, tmp_path), "--max-waiting", "1")
    try:
        running = long_job(service)
        assert service.upload(trips(1)).status_code == 202
        refused = service.upload(trips(1))
        assert refused.status_code == 429
        assert refused.headers["retry-after"]
        service.client.post(f"{JOBS}/{running}/cancel")
    finally:
        service.close()
