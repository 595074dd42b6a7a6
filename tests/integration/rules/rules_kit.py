"""A pipeline with rules and all that its runs reach: a fleet of two workers, the role train, and somebody's webhook."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import torch
import yaml
from confluent_kafka import TopicPartition
from google.protobuf.message import Message as Proto

from headrace.contracts.events_pb2 import Alert
from headrace.contracts.rule_records import RuleRun, RunState, StepState
from headrace.contracts.topics import ALERTS, EXAMPLES, TopicSpec, model_partition, pipeline_topics
from headrace.model.pipeline import load_pipeline
from headrace.runtime import kafka as clients
from headrace.runtime.endpoints import find, read_endpoints
from headrace.weights import VersionFacts, open_store, publish_version
from services.rules.kafka import Recovered, read_rules
from tests.integration.ckpt.fleet import Fleet, Process
from tests.line_kit import example, write_toy
from tests.patience import WAIT_S, wait_for


class Hook:
    """Somebody's server: what was posted to it, in order. It takes nothing while it is on `hold`."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.hold = False
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                hook.posts.append((self.path, dict(self.headers.items()), body))
                self.send_response(503 if hook.hold else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def keys(self, path: str) -> list[str]:
        return [headers["Idempotency-Key"] for where, headers, _ in self.posts if where == path]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)


class Bench:
    """See the module. The fleet's model is the pipeline's."""

    def __init__(self, fleet: Fleet, hook: Hook, rules: Callable[["Bench"], list[dict[str, Any]]]) -> None:
        self.fleet, self.hook, self.pipeline = fleet, hook, fleet.model
        self.folder = write_toy(fleet.folder / "pipeline", fleet.model)
        clients.ensure_topics(fleet.settings, pipeline_topics(fleet.model, 2))
        path = self.folder / "pipeline.yaml"
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), "rules": rules(self)}))
        self.role: Process | None = None
        self._count = 0

    # Parts.

    def start_fleet(self) -> None:
        """Coordinator, agent, two workers, the role train; a first version, which is bad; and examples."""
        self.fleet.coordinator()
        self.fleet.agent()
        network = load_pipeline(self.folder).model.network
        for name in ("a", "b"):
            self.fleet.local(name, build=network)
        wait_for(lambda: find(self.fleet.folder, "coordinator", "ops"))
        self.fleet.counts(2)
        self._train = self.fleet._start("train", ["-m", "services.trainer.ondemand", "--pipeline", str(self.folder)])
        torch.manual_seed(1)
        store = open_store(self.fleet.settings)
        weights = {name: tensor + 1.0 for name, tensor in network().state_dict().items()}
        facts = VersionFacts(model=self.pipeline, version=1, base_version=0, epoch=1)
        self.fleet.announce(publish_version(weights, facts, store=store))
        store.close()
        for worker in self.fleet.locals:
            worker.expect(1)
        began_ms = int(time.time() * 1000) - 400 * 20
        for offset in range(400):
            value = example(offset % 2, offset // 2, began_ms + 20 * offset, offset * 37 % 400 / 400)
            self.fleet.producer.produce(EXAMPLES.name(self.pipeline), value, partition=offset % 2)
        self.fleet.producer.flush(WAIT_S)

    def start(self, *flags: str) -> Process:
        """The role rules, ready."""
        self._count += 1
        name = f"rules-{self._count}"
        flags = ("--pipeline", str(self.folder), "--poll-s", "0.2", *flags)
        self.role = self.fleet._start(name, ["-m", "services.rules", *flags])
        wait_for(lambda: self._answers(name))
        return self.role

    def _answers(self, name: str) -> bool:
        if self.role is not None and (code := self.role.child.poll()) is not None:
            raise AssertionError(f"the role ended with {code}:\n{self.role.log.read_text()[-4000:]}")
        found = [one for one in read_endpoints(self.fleet.folder) if one.instance == name and "rest" in one.endpoints]
        if not found:
            return False
        self.url = found[0].endpoints["rest"]
        try:
            return httpx.get(f"{self.url}/v1/rules", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        assert self.role is not None
        self.role.kill()

    # What happens.

    def alert(self, name: str, **fields: Any) -> None:
        now = int(time.time() * 1e6)
        said = {"severity": Alert.WARNING, "firing": True, "message": "far off", "at_us": now, **fields}
        self._produce(ALERTS, Alert(id=f"{self.pipeline}/{name}", model=self.pipeline, name=name, **said))

    def _produce(self, topic: TopicSpec, message: Alert) -> None:
        where = {"key": self.pipeline.encode(), "partition": model_partition(self.pipeline)}
        self.fleet.producer.produce(topic.name(), message.SerializeToString(), **where)
        self.fleet.producer.flush(WAIT_S)

    # What is recorded.

    def recorded(self) -> Recovered:
        return read_rules(self.fleet.settings, self.pipeline)

    def runs(self, rule: str) -> list[RuleRun]:
        return [run for run in self.recorded().runs.values() if run.rule == rule]

    def at_step(self, rule: str, number: int) -> RuleRun:
        """Wait until a rule's only run has got to a step; the run."""

        def there() -> bool:
            runs = self.runs(rule)
            assert not runs or not runs[0].state.over or runs[0].state is RunState.DONE, runs[0].reason
            return bool(runs) and [s for s in runs[0].steps[number - 1 :] if s.state is not StepState.PENDING] != []

        wait_for(there)
        return self.runs(rule)[0]

    def ended(self, rule: str) -> RuleRun:
        wait_for(lambda: any(run.state.over for run in self.runs(rule)))
        return next(run for run in self.runs(rule) if run.state.over)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None, **headers: str) -> httpx.Response:
        return httpx.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=WAIT_S)

    def records(self, topic: TopicSpec, kind: type[Proto]) -> list[Any]:
        """All that was committed about the pipeline's model."""
        consumer = clients.consumer(self.fleet.settings, "test-rules", **{"enable.partition.eof": True})
        partition, found = TopicPartition(topic.name(), model_partition(self.pipeline), 0), []
        consumer.assign([partition])
        while (message := consumer.poll(WAIT_S)) is not None and message.error() is None:
            if message.key() is not None and not message.key().startswith(self.pipeline.encode()):
                continue  # other tests' records, some of which are none on purpose
            made = kind()
            made.ParseFromString(message.value() or b"")
            found += [made] if made.model == self.pipeline else []  # type: ignore[attr-defined]
        consumer.close()
        return found

    def jobs(self, kind: str) -> list[dict[str, Any]]:
        (url,) = [one.endpoints["rest"] for one in read_endpoints(self.fleet.folder) if one.role == "train"]
        return list(httpx.get(f"{url}/v1/training/{kind}", timeout=WAIT_S).json()["jobs"])


@contextmanager
def hook() -> Iterator[Hook]:
    made = Hook()
    try:
        yield made
    finally:
        made.close()


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
