"""The role `train` as a process of its own: jobs by REST, through a SIGKILL, and none that leads outside."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from safetensors.torch import load

from headrace.model.pipeline import load_pipeline
from tests.integration.rpc.rpc_process import start, stop
from tests.line_kit import write_toy
from tests.patience import WAIT_S, wait_for

JOBS = "/v1/training/jobs"


class Service:
    """A service over a folder of files, and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pipeline = write_toy(folder / "toy")
        self.inputs = folder / "in"
        self.inputs.mkdir()
        for name, field in (("events", "x"), ("labels", "y")):
            rows = [{"id": f"k{i}", field: i / 2000 if field == "x" else i / 1000} for i in range(2000)]
            (self.inputs / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        self.files = {"data": "files", "events": "events.jsonl", "labels": "labels.jsonl"}
        self.open()

    def open(self) -> None:
        self.process, endpoints = start(
            self.folder, "--input-dir", str(self.inputs), "--max-waiting", "2",
            pipeline=self.pipeline, service="trainer.ondemand", role="train", wanted=2,
        )  # fmt: skip
        self.client = httpx.Client(base_url=endpoints["rest"], timeout=WAIT_S)

    def close(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            assert stop(self.process) == 0

    def submit(self, key: str = "", **asked: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return self.client.post(JOBS, json={**self.files, **asked}, headers=headers)

    def job(self, job: str) -> dict[str, Any]:
        return dict(self.client.get(f"{JOBS}/{job}").json())

    def ended(self, job: str) -> dict[str, Any]:
        wait_for(lambda: self.job(job)["state"] in ("done", "failed", "cancelled"))
        return self.job(job)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    one = Service(tmp_path_factory.mktemp("train"))
    yield one
    one.close()


def test_a_job_from_submission_to_its_weights(service: Service) -> None:
    answer = service.submit(epochs=3, settings={"learning_rate": 0.02})
    assert answer.status_code == 202, answer.text
    job = answer.json()["id"]
    assert answer.headers["location"] == f"{JOBS}/{job}"
    with service.client.stream("GET", f"{JOBS}/{job}/events") as events:
        said = [json.loads(line[6:]) for line in events.iter_lines() if line.startswith("data: ")]
    assert said[-1]["state"] == "done"
    report = said[-1]["report"]
    assert [epoch["epoch"] for epoch in report["epochs"]] == [1, 2, 3]
    assert report["settings"]["learning_rate"] == 0.02
    assert report["parts"]["train"]["examples"] == 1600
    assert "weights" not in report
    weights = load(service.client.get(f"{JOBS}/{job}/weights").content)
    load_pipeline(service.pipeline).model.network().load_state_dict(weights)
    assert service.client.delete(f"{JOBS}/{job}").status_code == 204
    assert service.client.get(f"{JOBS}/{job}").status_code == 404


def test_the_same_key_is_the_same_job(service: Service) -> None:
    first, again, other = (service.submit(key="one", epochs=n) for n in (1, 1, 2))
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert first.json()["id"] == again.json()["id"]
    assert service.ended(first.json()["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"events": "../in/events.jsonl/../../toy/model.py"}, 403), ({"events": "/etc/passwd"}, 403),
        ({"events": "none.jsonl"}, 400), ({"epochs": 0}, 400), ({"epochs": "many"}, 400), ({"more": 1}, 400),
        ({"validation": 2}, 400), ({"delimiter": "ab"}, 400), ({"data": "pickle"}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    service: Service, asked: dict[str, Any], status: int
) -> None:
    answer = service.submit(**asked)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    kept = sorted(path.name for path in (service.folder / "storage" / "training").iterdir())
    assert kept == sorted(job["id"] for job in service.client.get(JOBS).json()["jobs"])


def test_a_job_that_fails_says_why(service: Service) -> None:
    found = service.ended(service.submit(settings={"learning_rat": 1}).json()["id"])
    assert found["state"] == "failed"
    assert "learning_rat" in found["error"]


def test_a_running_job_is_cancelled_and_what_waits_is_limited(service: Service) -> None:
    jobs = [service.submit(epochs=100_000).json()["id"] for _ in range(3)]
    busy = service.submit()
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "10")
    wait_for(lambda: service.job(jobs[0])["epoch"] >= 1)
    for job in reversed(jobs):
        assert service.client.post(f"{JOBS}/{job}/cancel").status_code == 200
        assert service.ended(job)["state"] == "cancelled"
    assert service.client.get(f"{JOBS}/{jobs[0]}/weights").status_code == 409


def test_killed_with_sigkill_the_service_goes_on_with_the_job(service: Service) -> None:
    straight = service.ended(service.submit(epochs=60).json()["id"])
    job = service.submit(epochs=60).json()["id"]
    wait_for(lambda: service.job(job)["epoch"] >= 5)
    service.process.send_signal(signal.SIGKILL)
    service.process.wait(WAIT_S)
    service.client.close()
    service.open()
    deadline = time.monotonic() + WAIT_S
    while (found := service.job(job))["state"] != "done":
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert found["report"]["digest"] == straight["report"]["digest"]
    assert len(found["report"]["epochs"]) == 60
