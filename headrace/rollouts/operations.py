"""An operator's request to a model's coordinator: sent on headrace.operations, and watched until the fleet follows."""

import contextlib
import getpass
import time
from collections.abc import Callable
from typing import Self
from uuid import uuid4

from confluent_kafka import Message
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import Operation, RolloutDirective, WeightsApplied
from headrace.rollouts.directives import REFUSE, RETIRE, Position, position_of
from headrace.rollouts.reading import APPLIED, ROLLOUTS, TopicReader
from headrace.rollouts.reports import ReportedWorker, WorkerReports
from headrace.rollouts.view import RolloutView
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError, DependencyError
from headrace.runtime.settings import ServiceSettings

HEARTBEATS_S = 10.0
"""Workers heard of within so many seconds are waited for."""


class OperatedModel:
    """A model that an operator looks at and asks something of: its rollout and workers, as of what was told so far."""

    def __init__(self, model: str) -> None:
        self.view = RolloutView(model)
        self._reports = WorkerReports()
        self._given_up: RolloutDirective | None = None
        self._refusals: dict[str, str] = {}

    def on_directive(self, directive: RolloutDirective) -> None:
        """Take a directive; other models' are ignored."""
        if not self.view.apply(directive):
            return
        if directive.action == RETIRE:
            self._given_up = directive
        elif directive.action == REFUSE:
            self._refusals[directive.operation_id] = directive.reason

    def on_report(self, report: WeightsApplied) -> None:
        """Take a worker's report; other models' are ignored."""
        if report.model == self.view.model:
            self._reports.apply(report)

    @property
    def workers(self) -> list[ReportedWorker]:
        """The connected workers, by name."""
        return list(self._reports.present.values())

    def serves(self, version: int) -> bool:
        """Whether every worker serves ``version``."""
        return all(worker.version == version for worker in self.workers)

    def followed(self) -> bool:
        """Whether every worker serves what it is meant to serve."""
        meant = ((worker, self.view.meant_for(worker.newest.worker)) for worker in self.workers)
        return all(told is None or worker.version == told.version for worker, told in meant)

    def refusal(self, request: Operation) -> str | None:
        """Why the coordinator refused a request; None if it did not."""
        return self._refusals.get(request.id)

    def answered(self, request: Operation, since: Position) -> bool:
        """Whether a request was refused, or the fleet was told what to serve by a directive newer than ``since``.

        A roll back pins and a resume ends that, by which its answer differs from a new version's activation meanwhile.
        The answer to a DEPLOY names the request: that on all workers, or on canaries, if it asks for a share of them.
        """
        if request.id in self._refusals:
            return True
        active, canary = self.view.active, self.view.canary
        if request.kind == Operation.DEPLOY:
            told = canary if request.canary_share else active
            return told is not None and told.operation_id == request.id
        if active is None or position_of(active) <= since:
            return False
        return active.pinned == (request.kind == Operation.ROLL_BACK)

    def given_up(self, since: Position) -> str:
        """Which version was given up after ``since``, and why; "" for none."""
        directive = self._given_up
        if directive is None or position_of(directive) <= since:
            return ""
        return f"version {directive.version} was given up: {directive.reason}"


class OperatorSession:
    """Follows one model from now on, and sends requests about it. Used from one thread, in a ``with`` statement.

    Args:
        settings: where Kafka is.
        model: the model's name in the fleet.

    Raises:
        DependencyError: Kafka does not answer.
    """

    def __init__(self, settings: ServiceSettings, model: str) -> None:
        self.model = OperatedModel(model)
        self._settings = settings
        self._reader = TopicReader(settings, {ROLLOUTS: 0, APPLIED: time.time() - HEARTBEATS_S})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def view(self) -> RolloutView:
        """The model's rollout as of now."""
        return self.model.view

    def catch_up(self) -> RolloutDirective:
        """Read what is there already; return the directive that says what the fleet serves.

        Raises:
            DependencyError: it takes too long.
            ConfigError: no version of the model is rolled out.
        """
        if not self._until(lambda: self._reader.caught_up, kafka.REQUEST_TIMEOUT_S):
            raise DependencyError("the rollouts cannot be read", hint="is the broker up?")
        if self.view.active is None:
            raise ConfigError(
                f"no version of {self.view.model!r} is rolled out", hint="headrace status shows what runs"
            )
        return self.view.active

    def request(self, request: Operation, timeout_s: float) -> RolloutDirective:
        """Send a request and return the directive that the coordinator issued in answer.

        Raises:
            ConfigError: the coordinator refused it.
            DependencyError: no coordinator answered in time.
        """
        active = self.catch_up()
        since = position_of(active)
        _send(self._settings, request)
        answered = self._until(lambda: self.model.answered(request, since), timeout_s)
        if (refusal := self.model.refusal(request)) is not None:
            raise ConfigError(refusal, hint="headrace ckpt history lists versions")
        if not answered:
            why = self.model.given_up(since) or "no coordinator answered: does one run? (headrace status)"
            raise DependencyError(why, hint="headrace ckpt history lists versions")
        canary = self.view.canary if request.canary_share else None
        return canary or self.view.active or active

    def wait_served(self, version: int, timeout_s: float) -> bool:
        """Wait until every connected worker serves a version; whether they do by the end of the time."""
        return self._until(lambda: self.model.serves(version), timeout_s)

    def wait_followed(self, timeout_s: float) -> bool:
        """Wait until every connected worker serves what it is meant to, canaries included; whether they do by then."""
        return self._until(self.model.followed, timeout_s)

    def _until(self, done: Callable[[], bool], timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while not done():
            if time.monotonic() > deadline:
                return False
            for message in self._reader.poll():
                with contextlib.suppress(DecodeError):  # an undecodable record is skipped, here as in the services
                    self._take(message)
        return True

    def _take(self, message: Message) -> None:
        if message.topic() == ROLLOUTS:
            self.model.on_directive(RolloutDirective.FromString(message.value() or b""))
        else:
            self.model.on_report(WeightsApplied.FromString(message.value() or b""))


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
