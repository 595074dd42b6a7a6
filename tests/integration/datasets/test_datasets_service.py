"""The role `datasets` as a process of its own: from an upload to a profile, through a SIGKILL."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.datasets.announcing import KafkaAnnouncer
from headrace.datasets.upload_client import Service as Client
from headrace.runtime.settings import ServiceSettings
from tests.integration.rpc.rpc_process import start, stop
from tests.line_kit import write_toy
from tests.patience import WAIT_S, wait_for
from tests.workbook_kit import write_workbook


class Service:
    """A service with a watched folder, and clients of it."""

    def __init__(self, folder: Path, kafka: str) -> None:
        self.folder, self.kafka = folder, kafka
        self.pipeline = write_toy(folder / "toy")
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        self.open()

    def open(self) -> None:
        self.process, endpoints = start(
            self.folder, "--watch-dir", str(self.inbox), "--watch-every-s", "0.05",
            "--kafka-bootstrap-servers", self.kafka, pipeline=self.pipeline, service="datasets", role="datasets", wanted=2,
        )  # fmt: skip
        self.http = httpx.Client(base_url=endpoints["rest"], timeout=WAIT_S)
        self.client = Client(endpoints["rest"], WAIT_S)

    def close(self) -> None:
        self.http.close()
        if self.process.poll() is None:
            assert stop(self.process) == 0

    def make(self, name: str, **asked: Any) -> dict[str, Any]:
        answer = self.http.post(f"/v1/datasets/{name}/versions", json=asked)
        assert answer.status_code == 202, answer.text
        return self.client.follow(answer.json()["id"], lambda _: None)

    def upload(self, path: Path) -> str:
        upload = self.client.begin(path)
        self.client.send(upload, path)
        return upload


@pytest.fixture(scope="module")
def service(kafka: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    one = Service(tmp_path_factory.mktemp("datasets"), kafka.bootstrap_servers)
    yield one
    one.close()


def test_a_workbook_from_its_upload_to_a_profile_and_to_its_removal(service: Service, tmp_path: Path) -> None:
    rows = [["id", "x", "y"], *([f"k{i}", i / 10, i] for i in range(100))]
    done = service.make(
        "rides", **{"from": {"upload": service.upload(write_workbook(tmp_path / "rides.xlsx", {"S": rows}))}},
        **{"as": "examples"}, metadata={"licence": "CC0"},
    )  # fmt: skip
    assert (done["state"], done["datasets"], done["rows"]["done"]) == ("done", ["rides@1"], 100), done
    get = service.client.get
    listed = {one["name"]: one for one in get("/v1/datasets")["datasets"]}
    assert (listed["rides"]["newest"], listed["rides"]["rows"], listed["rides"]["holds"]) == (1, 100, "examples")
    manifest = get("/v1/datasets/rides/versions/newest")
    assert manifest["source"]["details"]["files"][0]["file"] == "rides.xlsx"
    settings = ServiceSettings(kafka_bootstrap_servers=service.kafka)
    assert KafkaAnnouncer(settings).announced()["rides@1"].manifest_digest == manifest["digest"]
    some = get("/v1/datasets/rides/versions/1/rows?offset=98&limit=5")
    assert (some["total"], some["rows"]) == (100, [{"id": f"k{i}", "x": i / 10, "y": float(i)} for i in (98, 99)])
    split = service.client.post("/v1/datasets/rides/versions/1/split", {"by": "key", "shares": {"a": 0.5, "b": 0.5}})
    parts = service.client.follow(split["id"], lambda _: None)
    assert parts["datasets"] == ["rides-a@1", "rides-b@1"], parts
    profile = get("/v1/datasets/rides-a/versions/1/profile?against=rides-b@1")
    assert {c["name"]: c["kind"] for c in profile["columns"]} == {"id": "text", "x": "numeric", "y": "numeric"}
    assert 0 <= profile["columns"][1]["drift"]["ks"] <= 1
    text = service.http.get("/v1/datasets/rides/versions/1/export?format=csv").text
    assert text.splitlines()[:2] == ['"id","x","y"', '"k0",0,0']
    assert service.http.delete("/v1/datasets/rides-b/versions/1").status_code == 204
    assert service.http.get("/v1/datasets/rides-b/versions/1").status_code == 404


def test_bad_rows_of_an_import_are_listed_and_nothing_is_made(service: Service, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("id,x\n" + "".join(f"k{i},{'?' if i % 3 else i}\n" for i in range(60)))
    done = service.make("bad", **{"from": {"upload": service.upload(tmp_path / "bad.csv")}, "as": "events"})
    assert (done["state"], done["rows"]["bad"], len(done["bad_rows"])) == ("failed", 40, 20)
    assert done["bad_rows"][0] == {"place": "bad.csv:3", "field": "x", "problem": "'?': expected a number"}
    listed = service.http.get(f"/v1/imports/{done['id']}/rejected").text.splitlines()
    assert [json.loads(line)["place"] for line in listed][-1] == "bad.csv:61"
    assert service.http.get("/v1/datasets/bad").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({}, 400), ({"from": {}}, 400), ({"from": {"file": "/etc/passwd"}}, 403), ({"from": {"upload": "0"}}, 404),
        ({"from": {"topic": "t", "query": "q"}}, 400), ({"from": {"query": "q"}, "more": 1}, 400),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    service: Service, asked: dict[str, Any], status: int
) -> None:
    answer = service.http.post("/v1/datasets/x/versions", json=asked)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert service.http.post("/v1/datasets/X!/versions", json={"from": {"query": "select 1"}}).status_code == 400
    kept = {path.name for path in (service.folder / "storage" / "imports" / "jobs").iterdir()}
    assert kept == {job["id"] for job in service.client.get("/v1/imports?limit=1000")["imports"]}


def test_killed_with_sigkill_the_service_goes_on_and_makes_one_version(service: Service, tmp_path: Path) -> None:
    (tmp_path / "large.csv").write_text("id,v\n" + "".join(f"k{i},{i}\n" for i in range(300_000)))
    upload = service.upload(tmp_path / "large.csv")
    job = service.client.post("/v1/datasets/large/versions", {"from": {"upload": upload}})["id"]
    wait_for(lambda: service.client.get(f"/v1/imports/{job}")["rows"]["done"] > 0)
    service.process.send_signal(signal.SIGKILL)
    service.process.wait(WAIT_S)
    service.http.close()
    service.open()
    done = service.client.follow(job, lambda _: None)
    assert (done["state"], done["datasets"], done["rows"]["done"]) == ("done", ["large@1"], 300_000), done
    assert [one["version"] for one in service.client.get("/v1/datasets/large")["versions"]] == [1]


def test_files_of_the_watched_folder_become_versions_and_bad_ones_say_why(service: Service) -> None:
    (service.inbox / "Zones.csv").write_text("zone;pace\n1;1,5\n2;2,25\n")
    (service.inbox / "odd.csv").write_text("when\n01/02/2026\n")
    wait_for(lambda: not [path for path in service.inbox.iterdir() if path.is_file()])
    assert (service.inbox / "imported" / "Zones.csv").exists()
    assert "which is the day" in (service.inbox / "refused" / "odd.csv.reason.txt").read_text()
    assert service.client.get("/v1/datasets/zones/versions/1/rows")["rows"] == [
        {"zone": 1, "pace": 1.5}, {"zone": 2, "pace": 2.25},
    ]  # fmt: skip
