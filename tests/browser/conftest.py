"""The page in a headless Chromium, against one real run of a small pipeline for all of its tests.

They run in a process of their own (`make test`): Playwright's event loop runs in it until the end, and asynchronous
tests would find it running.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from headrace.runtime.endpoints import find
from tests.e2e.conftest import Run, wait_for
from tests.patience import WAIT_S

ROOT = Path(__file__).parents[2]
RIDES = ROOT / "examples" / "rides"
SCREENSHOTS = ROOT / "build" / "page"
CHROMIUM = Path("/usr/bin/chromium")
BESIDE = ("labelling", "drift", "rules", "train", "datasets")
RULES = """
rules:
  - name: by-hand
    description: trains on what the source replays, once a person agrees
    when: [{call: true}]
    steps:
      - name: agree
        approve: true
        command: {run: ["true"]}
"""

expect.set_options(timeout=WAIT_S * 1000)


@dataclass
class World:
    """A run with what people look at: events, labels, versions, dead letters."""

    run: Run
    url: str
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    sent: int = 0

    def gateway_alone(self) -> str:
        """The address of a gateway that knows of no other role, on the same Kafka."""
        folder = self.run.folder.parent / "alone"
        flags = ["--pipeline", str(self.run.pipeline), "--run-dir", str(folder), "--instance", "alone"]
        environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": self.run.kafka}
        argv = [sys.executable, "-m", "services.gateway", *flags]
        self.processes.append(
            subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        )
        return wait_for(lambda: next(iter(find(folder, "gateway", "rest")), ""), "the address of a further gateway")

    def label(self, number: int) -> None:
        """Append labels of the newest events, from which the trainer learns a further version."""
        path = f"{self.url}/v1/pipelines/rides"
        found = httpx.get(f"{path}/topics/events/records?last={number}", timeout=WAIT_S).json()["records"]
        events = [one["value"] for one in found]
        labels = [{"ride_id": e["ride_id"], "minutes": 12.0, "arrived": e["requested"] + 720} for e in events]
        answer = httpx.post(f"{path}/labels", json=labels, timeout=WAIT_S)
        assert answer.json()["accepted"] == number, answer.text

    def send(self, number: int) -> None:
        """Append further events: the newest ones again, with keys of their own."""
        path = f"{self.url}/v1/pipelines/rides"
        found = httpx.get(f"{path}/topics/events/records?last={number}", timeout=WAIT_S).json()["records"]
        self.sent += 1
        events = [{**one["value"], "ride_id": f"again-{self.sent}-{i}"} for i, one in enumerate(found)]
        answer = httpx.post(f"{path}/events", json=events, timeout=WAIT_S)
        assert answer.json()["accepted"] == number, answer.text


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def world(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("page")
    pipeline = folder / "rides"
    shutil.copytree(RIDES, pipeline, ignore=shutil.ignore_patterns("__pycache__"))
    with (pipeline / "pipeline.yaml").open("a") as spec:
        spec.write(RULES)
    run = Run(folder / "run", pipeline)
    made = None
    try:
        run.wait_ready("gateway", "rpc", "ingest", "stream", "monitor", "join", "trainer", *BESIDE)
        made = World(run, run.endpoint("gateway", "rest"))
        run.produce(1200)
        made.label(100)
        yield made
    finally:
        for process in made.processes if made else ():
            process.terminate()
            process.wait(WAIT_S)
        run.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    made = browser.new_context(viewport={"width": 1360, "height": 900}, color_scheme="dark")
    yield made
    made.close()


@dataclass
class Shown:
    """The page in a tab; whatever a script or the policy complains of fails the test."""

    world: World
    tab: Page
    complaints: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)

    def open(self, view: str) -> Page:
        """A view, once its figures have come."""
        self.tab.goto(f"{self.world.url}/#/{view}")
        expect(self.tab.locator("#stream")).to_have_text("live")
        return self.tab

    def picture(self, name: str) -> None:
        """A screenshot, for people to look at."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.tab.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


@pytest.fixture
def page(world: World, context: BrowserContext) -> Iterator[Shown]:
    shown = Shown(world, context.new_page())
    shown.tab.on("pageerror", lambda error: shown.complaints.append(str(error)))
    shown.tab.on("console", lambda said: shown.complaints.append(said.text) if said.type == "error" else None)
    shown.tab.on("request", lambda asked: None if asked.url.startswith(world.url) else shown.outside.append(asked.url))
    yield shown
    expected = ("the server responded with a status of", "net::ERR_")
    assert [one for one in shown.complaints if not any(part in one for part in expected)] == []
    assert [one for one in shown.outside if not one.startswith(("data:", "blob:"))] == []
