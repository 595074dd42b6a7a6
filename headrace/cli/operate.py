"""An operator's request: sent on headrace.operations, and watched until the fleet has done it."""

import contextlib
import getpass
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition
from google.protobuf.message import DecodeError
from rich.console import Console

from headrace.cli.connect import connect
from headrace.contracts import topics
from headrace.contracts.events_pb2 import Operation, RolloutDirective, WeightsApplied
from headrace.launch.run_file import model_of
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError, DependencyError
from headrace.runtime.settings import ServiceSettings

HEARTBEATS_S = 10.0
"""Workers heard of within so many seconds are waited for."""
SERVING = (WeightsApplied.ACTIVE, WeightsApplied.HEARTBEAT, WeightsApplied.JOINED)
SWAPPING = (RolloutDirective.ACTIVATE, RolloutDirective.ROLL_BACK)


@dataclass
class Fleet:
    """What rollouts and acknowledgements said so far of one model."""

    model: str
    active: RolloutDirective | None = None
    retired: RolloutDirective | None = None
    refused: dict[str, str] = field(default_factory=dict)
    """Why requests cannot be done, by their ids."""
    serving: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def directive(self, directive: RolloutDirective) -> None:
        """The coordinator said something; the newest counts."""
        if directive.model != self.model:
            return
        if directive.action == RolloutDirective.RETIRE:
            self.retired = directive
        elif directive.action == RolloutDirective.REFUSE:
            self.refused[directive.operation_id] = directive.reason
        elif directive.action in SWAPPING and (self.active is None or directive.sequence > self.active.sequence):
            self.active = directive

    def applied(self, applied: WeightsApplied) -> None:
        """A worker said something."""
        if applied.model != self.model:
            return
        if applied.state == WeightsApplied.LEFT:
            self.serving.pop(applied.worker, None)
        elif applied.state == WeightsApplied.FAILED:
            self.failed[applied.worker] = applied.error
        elif applied.state in SERVING:
            self.serving[applied.worker] = applied.version

    def serves(self, version: int) -> bool:
        """Whether every worker serves `version`."""
        return all(v == version for v in self.serving.values())


class Watch:
    """Reads headrace.rollouts and .applied: from a little in the past, so that the fleet of now is known first."""

    def __init__(self, settings: ServiceSettings, fleet: Fleet) -> None:
        self._fleet = fleet
        self._consumer = kafka.consumer(settings, "headrace.operate", **{"enable.partition.eof": True})
        self._rollouts, self._applied = topics.ROLLOUTS.name(), topics.APPLIED.name()
        partitions = range(topics.SYSTEM_PARTITIONS)
        since = [TopicPartition(self._applied, p, int((time.time() - HEARTBEATS_S) * 1000)) for p in partitions]
        recent = kafka.patiently(
            lambda: self._consumer.offsets_for_times(since, timeout=kafka.REQUEST_TIMEOUT_S),
            f"where the newest records of {self._applied} begin",
        )
        whole = [TopicPartition(self._rollouts, p, OFFSET_BEGINNING) for p in partitions]
        self._behind = {(t.topic, t.partition) for t in (*recent, *whole)}
        self._consumer.assign([*recent, *whole])

    def until(self, done: Callable[[], bool], timeout: float) -> bool:
        """Read until `done`, `timeout` seconds at most; whether it is."""
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline:
                return False
            for message in self._messages():
                with contextlib.suppress(DecodeError):  # a record that is none moves nobody, here as in the services
                    self._tell(message)
        return True

    def catch_up(self) -> None:
        """Read what is there already.

        Raises:
            DependencyError: it takes too long.
        """
        if not self.until(lambda: not self._behind, kafka.REQUEST_TIMEOUT_S):
            raise DependencyError("the rollouts cannot be read", hint="is the broker up?")

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _tell(self, message: Message) -> None:
        if message.topic() == self._rollouts:
            self._fleet.directive(RolloutDirective.FromString(message.value() or b""))
        else:
            self._fleet.applied(WeightsApplied.FromString(message.value() or b""))

    def _messages(self) -> Iterator[Message]:
        for message in self._consumer.consume(500, 0.05):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                self._behind.discard((message.topic() or "", message.partition() or 0))
            else:
                yield kafka.check(message)


def model_named(model: str | None, run: str | None) -> str:
    """The model that is meant: the one named, else the run's.

    Raises:
        ConfigError: none is named and there is no run.
    """
    found = model_of(model, run)
    if found is None:
        raise ConfigError("which model?", hint="name it: headrace rollback MODEL")
    return found


def operate(request: Operation, *, run: str | None, kafka_address: str | None, timeout: float) -> None:
    """Send a request and say what happened, until every worker has done it.

    Raises:
        ConfigError: nothing is rolled out of this model, or the coordinator refuses the request.
        DependencyError: nobody answered, or the fleet did not follow in time.
    """
    settings, console = connect(run, kafka_address), Console(highlight=False)
    fleet = Fleet(request.model)
    watch = Watch(settings, fleet)
    try:
        watch.catch_up()
        before = fleet.active
        if before is None:
            raise ConfigError(f"no version of {request.model!r} is rolled out", hint="headrace status shows what runs")
        if request.kind == Operation.RESUME and not before.pinned:
            console.print(
                f"{request.model} is not pinned: it serves version {before.version}, and newer ones as they come"
            )
            return
        since, sequence = time.monotonic(), before.sequence
        _send(settings, request)

        def answered() -> bool:
            return request.id in fleet.refused or (fleet.active is not None and fleet.active.sequence > sequence)

        done = watch.until(answered, timeout)
        if request.id in fleet.refused:
            raise ConfigError(fleet.refused[request.id], hint="headrace ckpt history lists versions")
        if not done:
            raise DependencyError(_unanswered(before, fleet), hint="headrace ckpt history lists versions")
        _report(console, watch, fleet, since, timeout)
    finally:
        watch.close()


def _send(settings: ServiceSettings, request: Operation) -> None:
    request.id, request.requested_by = uuid4().hex, getpass.getuser()
    request.requested_at_us = int(time.time() * 1e6)
    producer = kafka.producer(settings)
    name = topics.OPERATIONS.name()
    producer.produce(
        name, key=request.model, value=request.SerializeToString(), partition=topics.model_partition(request.model)
    )
    if producer.flush(kafka.REQUEST_TIMEOUT_S):
        raise DependencyError(f"the request was not taken by {name}", hint="is the broker up?")


def _report(console: Console, watch: Watch, fleet: Fleet, since: float, timeout: float) -> None:
    active = fleet.active
    if active is None:
        return
    was = f" (was {active.previous_version})" if active.previous_version != active.version else ""
    pinned = ", pinned: newer checkpoints wait for `headrace resume`" if active.pinned else ""
    console.print(f"[bold]{active.model}[/] is told to serve version [bold]{active.version}[/]{was}{pinned}")
    done = watch.until(lambda: fleet.serves(active.version), timeout)
    for worker, version in sorted(fleet.serving.items()):
        mark = "[green]✓[/]" if version == active.version else "[red]✗[/]"
        console.print(f"  {mark} {worker} serves version {version} {fleet.failed.get(worker, '')}".rstrip())
    if not done:
        raise DependencyError(
            f"not every worker serves version {active.version} after {timeout:.0f} s", hint="headrace status"
        )
    console.print(f"done in {(time.monotonic() - since) * 1000:.0f} ms, {len(fleet.serving)} workers")


def _unanswered(before: RolloutDirective, fleet: Fleet) -> str:
    if fleet.retired is not None and fleet.retired.sequence > before.sequence:
        return f"version {fleet.retired.version} was given up: {fleet.retired.reason}"
    return "no coordinator answered: does one run? (headrace status)"
