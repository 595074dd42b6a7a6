"""`headrace rollback` and `resume` against a coordinator and workers played by the test, on real topics."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from headrace.cli.catalogue import application
from headrace.contracts import topics
from headrace.contracts.events_pb2 import Operation, RolloutDirective, WeightsApplied
from headrace.runtime import kafka as clients
from headrace.runtime.settings import ServiceSettings
from tests.patience import WAIT_S


class Fleet(threading.Thread):
    """Answers operations as a coordinator would, and lets the workers follow at once."""

    def __init__(self, settings: ServiceSettings, model: str, workers: list[str], active: int = 5) -> None:
        super().__init__()
        self.model, self.workers, self.active, self.sequence, self.pinned = model, workers, active, 10, False
        self.stubborn: set[str] = set()
        self.requests: list[Operation] = []
        self._partition = topics.model_partition(model)
        self._producer = clients.producer(settings)
        self._consumer = clients.consumer(settings, f"test.{model}")
        self._consumer.subscribe([topics.OPERATIONS.name()])
        self._over = threading.Event()

    def direct(self, version: int, *, pinned: bool) -> None:
        action = RolloutDirective.ROLL_BACK if pinned else RolloutDirective.ACTIVATE
        self.sequence += 1
        directive = RolloutDirective(
            model=self.model, action=action, version=version, previous_version=self.active,
            sequence=self.sequence, pinned=pinned,
        )  # fmt: skip
        self.active, self.pinned = version, pinned
        value = directive.SerializeToString()
        self._producer.produce(topics.ROLLOUTS.name(), value, f"{self.model}/active".encode(), self._partition)
        self.report(WeightsApplied.ACTIVE)

    def report(self, state: int) -> None:
        for worker in self.workers:
            version = 5 if worker in self.stubborn else self.active
            said = WeightsApplied(model=self.model, worker=worker, state=state, version=version)
            key = f"{self.model}/{worker}".encode()
            self._producer.produce(topics.APPLIED.name(), said.SerializeToString(), key, self._partition)
        self._producer.flush(WAIT_S)

    def run(self) -> None:
        beat = 0.0
        while not self._over.is_set():
            if time.monotonic() > beat:
                beat = time.monotonic() + 0.5
                self.report(WeightsApplied.HEARTBEAT)
            for message in self._consumer.consume(10, 0.1):
                request = Operation.FromString(message.value())
                if request.model == self.model:
                    self.requests.append(request)
                    self.answer(request)
        self._consumer.close()

    def answer(self, request: Operation) -> None:
        if request.kind == Operation.RESUME:
            self.direct(self.active, pinned=False)
        elif request.version == 99:
            return  # as if nobody were there
        elif request.version > 5:
            self.refuse(request)
        else:
            self.direct(request.version or self.active - 1, pinned=True)

    def refuse(self, request: Operation) -> None:
        self.sequence += 1
        directive = RolloutDirective(
            model=self.model, action=RolloutDirective.REFUSE, version=request.version, sequence=self.sequence,
            operation_id=request.id, reason=f"version {request.version} is newer than the active {self.active}",
        )  # fmt: skip
        value = directive.SerializeToString()
        self._producer.produce(topics.ROLLOUTS.name(), value, f"{self.model}/refused".encode(), self._partition)

    def close(self) -> None:
        self._over.set()
        self.join()


@pytest.fixture
def fleet(kafka: Any) -> Iterator[Fleet]:
    settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers)
    clients.ensure_topics(settings, topics.system_topics())
    made = Fleet(settings, kafka.unique("toy"), ["stream-1", "rpc-1"])
    made.direct(5, pinned=False)
    made.start()
    yield made
    made.close()


def headrace(kafka: Any, *arguments: str, timeout: str = "10") -> Result:
    return CliRunner().invoke(application(), [*arguments, "--kafka", kafka.bootstrap_servers, "--timeout", timeout])


def test_a_rollback_is_confirmed_by_every_worker(kafka: Any, fleet: Fleet) -> None:
    result = headrace(kafka, "rollback", fleet.model, "--to", "3", "--reason", "4 is off")
    assert result.exit_code == 0, result.output
    assert "is told to serve version 3 (was 5), pinned" in result.output
    assert "✓ stream-1 serves version 3" in result.output
    assert "✓ rpc-1 serves version 3" in result.output
    assert "2 workers" in result.output
    (request,) = fleet.requests
    assert (request.kind, request.version, request.reason) == (Operation.ROLL_BACK, 3, "4 is off")
    assert request.id
    assert request.requested_by


def test_resume_after_a_rollback(kafka: Any, fleet: Fleet) -> None:
    assert headrace(kafka, "rollback", fleet.model).exit_code == 0
    assert fleet.active == 4
    result = headrace(kafka, "resume", fleet.model)
    assert result.exit_code == 0, result.output
    assert not fleet.pinned


def test_resume_of_what_is_not_pinned_asks_for_nothing(kafka: Any, fleet: Fleet) -> None:
    result = headrace(kafka, "resume", fleet.model)
    assert result.exit_code == 0
    assert "is not pinned" in result.output
    assert fleet.requests == []


def test_a_worker_that_does_not_follow_is_named(kafka: Any, fleet: Fleet) -> None:
    fleet.stubborn.add("rpc-1")
    result = headrace(kafka, "rollback", fleet.model, "--to", "3", timeout="5")
    assert result.exit_code == 3
    assert "✗ rpc-1 serves version 5" in result.output
    assert "not every worker serves version 3" in result.output


def test_what_the_coordinator_refuses_is_said_at_once(kafka: Any, fleet: Fleet) -> None:
    result = headrace(kafka, "rollback", fleet.model, "--to", "9", timeout="120")
    assert result.exit_code == 2
    assert "version 9 is newer than the active 5" in result.output
    assert headrace(kafka, "rollback", fleet.model, "--to", "3").exit_code == 0


def test_when_nobody_answers(kafka: Any, fleet: Fleet) -> None:
    result = headrace(kafka, "rollback", fleet.model, "--to", "99", timeout="1")
    assert result.exit_code == 3
    assert "no coordinator answered" in result.output


def test_a_model_that_nobody_rolled_out(kafka: Any, fleet: Fleet) -> None:
    result = headrace(kafka, "rollback", "nobody")
    assert result.exit_code == 2
    assert "no version of 'nobody' is rolled out" in result.output
