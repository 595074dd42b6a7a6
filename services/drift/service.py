"""The drift role's logic: columns of records in, alerts and a snapshot out. It imports no client library."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from headrace.alerts import definitions as names
from headrace.alerts.policy import Policy
from headrace.alerts.raising import Finding, Raising
from headrace.contracts.events_pb2 import Alert
from headrace.drift.changes import MeanChange, Moved
from headrace.drift.limits import Limits
from headrace.drift.reference import ColumnReference
from headrace.drift.schema import Reader
from headrace.drift.windows import Group
from headrace.evaluation.judge import Judge
from services.drift import findings
from services.drift.flow import Flow, FlowLimits
from services.drift.labels import LabelledErrors
from services.drift.scores import Scores

Floats = NDArray[np.float64]
DELTA = 1e-8
"""Of ADWIN, by docs/design/drift.md."""
THIN = 10
"""So many predictions are one to ADWIN."""
_UNREADABLE_OF = 1000
_UNREADABLE_SHARE = 0.01


class Prediction(msgspec.Struct, gc=False):
    """What is read of a prediction; `reader_of` makes a type whose `prediction` is the model's."""

    key: str
    prediction: Any
    model: str
    version: int
    event_ms: int
    at_us: int


@dataclass(frozen=True)
class Watched:
    """What is watched: a pipeline, how its events and predictions are read, and what counts as drift."""

    pipeline: str
    models: tuple[str, ...]
    reader: Reader
    scores: Scores
    judge: Judge
    decode_label: Any
    limits: Limits = field(default_factory=Limits)
    flow: FlowLimits = field(default_factory=FlowLimits)
    score: float = 0.5
    error_ratio: float = 1.5
    error_examples: int = 2000
    labels_per_s: int = 2000
    wait_s: float = 3600.0
    max_waiting: int = 100_000
    policy: Policy = field(default_factory=Policy)
    references: Mapping[str, ColumnReference] = field(default_factory=dict)
    error_unit: str = ""


class Watch:
    """Everything that is known of one pipeline. Not thread-safe: one thread feeds it."""

    def __init__(self, watched: Watched) -> None:
        self.watched = watched
        columns = len(watched.reader.specs) + len(watched.scores.specs) * len(watched.models)
        self.inputs = Group(watched.reader.specs, watched.limits, watched=columns, references=dict(watched.references))
        self.predictions_of = {m: Group(watched.scores.specs, watched.limits, watched=columns) for m in watched.models}
        adopt = watched.limits.adopt
        self.scores = {
            model: MeanChange(
                delta=DELTA, measure="deviations", effect=watched.score, learn=watched.limits.reference, adopt=adopt,
                thin=THIN,
            )
            for model in watched.models
        }  # fmt: skip
        self.errors = {
            model: MeanChange(
                delta=DELTA, measure="ratio", effect=watched.error_ratio, learn=watched.error_examples, adopt=adopt
            )
            for model in watched.models
        }
        self.labelled = LabelledErrors(
            watched.judge, watched.decode_label, limit=watched.max_waiting, wait_s=watched.wait_s
        )
        self.flow = Flow(watched.flow)
        self.raising = Raising("drift", watched.policy)
        self._pending: list[Alert] = []
        self._now_us = 0
        self.counts = {"events": 0, "predictions": 0, "labels": 0, "unreadable": 0}
        self._tried = self._unreadable = 0
        self._unreadable_on = False
        self._rate_from: tuple[float, int] | None = None

    def events(self, values: Sequence[bytes | None], at: Floats) -> None:
        """Take events: their JSON, and their timestamps in seconds [N]."""
        columns, bad = self.watched.reader.read(values)
        self.counts["events"] += len(values)
        self.flow.events(at)
        self._readable(len(values), bad)
        for change in self.inputs.take(columns):
            self._take(findings.of_input(self.watched.pipeline, change, self._kind(self.inputs, change.column)))

    def predictions(self, made: Sequence[Prediction], keys: Sequence[bytes | None], now: float) -> None:
        """Take predictions, and the records' keys; `now` is in seconds since the epoch."""
        self.counts["predictions"] += len(made)
        self._latency(made)
        values = [one.prediction for one in made]
        models = [one.model or self.watched.pipeline for one in made]
        known = set(models)
        columns = self.watched.scores.columns(values)
        for model in known & self.predictions_of.keys():
            its = columns
            if len(known) > 1:
                chosen = np.array([one == model for one in models])
                its = [column[chosen] for column in columns]
            self._predicted(model, its)
        given = [one.key.encode() if key is None else key for one, key in zip(made, keys, strict=True)]
        self._errors(self.labelled.predictions(now, given, models, values))

    def labels(self, keys: Sequence[bytes], values: Sequence[bytes], now: float) -> None:
        """Take labels: the records' keys, and their JSON."""
        self.counts["labels"] += len(keys)
        self._errors(self.labelled.labels(now, keys, values))

    def at(self, now: float) -> None:
        """The time, in seconds since the epoch, at which alerts start and stop that are found from here on."""
        self._now_us = int(now * 1e6)

    def tick(self, now: float, read_until: float | None) -> None:
        """Bring volume, latency and expiry up to `now`; everything before `read_until` was read, None if not known."""
        self.at(now)
        self.labelled.expire(now)
        self._adapt(now)
        volume, latency = self.flow.tick(read_until)
        for odd in volume:
            self._take(findings.of_volume(self.watched.pipeline, odd, self.watched.flow.interval_s))
        for odd in latency:
            self._take(findings.of_latency(self.watched.pipeline, odd))

    def reset(self, columns: Sequence[str] | None = None) -> list[str]:
        """Learn the references of these columns anew, or of all columns, errors and scores; return which."""
        for change in self.inputs.reset(columns):
            self._take(findings.of_input(self.watched.pipeline, change, self._kind(self.inputs, change.column)))
        done = [spec.name for spec in self.inputs.specs if columns is None or spec.name in columns]
        for model, group in self.predictions_of.items():
            for change in group.reset(columns):
                self._take(findings.of_prediction(model, change))
            done += [spec.name for spec in group.specs if columns is None or spec.name in columns]
            for what, change_of in (("mean", self.scores[model]), ("error", self.errors[model])):
                if columns is None or what in columns:
                    done.append(what)
                    for moved in change_of.reset():
                        self._moved(model, what, moved)
        return sorted(set(done))

    @property
    def learns_first(self) -> bool:
        """Whether the first references are being learned, of columns that are given none."""
        own = [one for one, spec in zip(self.inputs.references, self.inputs.specs, strict=True)
               if spec.name not in self.inputs.given]  # fmt: skip
        return bool(own) and all(one is None for one in own)

    def drain(self) -> list[Alert]:
        """The alerts that started or stopped since the last call."""
        pending, self._pending = self._pending, []
        return pending

    def reconcile(self, before: Iterable[Alert]) -> None:
        """End alerts that are on and of which the detectors know nothing.

        Their column is not watched any more, or the role began anew: `before` are then the role's alerts that are on by
        the log.
        """
        self.raising.restore([*self.raising.state(), *(a.SerializeToString() for a in before)])
        on = set(self._on())
        for alert in self.raising.on:
            if (alert.model, alert.name, alert.subject) not in on:
                text = "the drift role does not watch this any more, or has begun anew"
                self._take(Finding(alert.model, alert.name, firing=False, message=text, subject=alert.subject))

    def _on(self) -> Iterable[tuple[str, str, str]]:
        """Model, name and subject of everything that is drifted now."""
        pipeline = self.watched.pipeline
        for column, what in self.inputs.on():
            kind = self._kind(self.inputs, column)
            yield pipeline, findings.input_alert(what, kind), column
        for model, group in self.predictions_of.items():
            yield from ((model, names.PREDICTION_DRIFT, findings.subject(column, what)) for column, what in group.on())
            if self.scores[model].firing:
                yield model, names.PREDICTION_DRIFT, "mean"
            if self.errors[model].firing:
                yield model, names.ERROR_DRIFT, ""
        flags = (
            (names.VOLUME_ANOMALY, self.flow.volume.firing), (names.LATENCY_ANOMALY, self.flow.latency.firing),
            (names.UNREADABLE_EVENTS, self._unreadable_on),
        )  # fmt: skip
        yield from ((pipeline, name, "") for name, on in flags if on)

    def _take(self, finding: Finding) -> None:
        alert = self.raising.take(finding, self._now_us)
        if alert is not None:
            self._pending.append(alert)

    def _predicted(self, model: str, columns: list[Any]) -> None:
        for change in self.predictions_of[model].take(columns):
            self._take(findings.of_prediction(model, change))
        for moved in self.scores[model].take(columns[0]):
            self._moved(model, "mean", moved)

    def _errors(self, errors: Sequence[tuple[str, float]]) -> None:
        by_model: dict[str, list[float]] = {}
        for model, error in errors:
            by_model.setdefault(model, []).append(error)
        for model, its in by_model.items():
            if model in self.errors:
                for moved in self.errors[model].take(its):
                    self._moved(model, "error", moved)

    def _moved(self, model: str, what: str, moved: Moved) -> None:
        self._take(findings.of_mean(model, what, moved, self.watched.error_unit))

    def _latency(self, made: Sequence[Prediction]) -> None:
        at = np.fromiter((one.at_us for one in made), np.float64, len(made)) / 1e6
        events = np.fromiter((one.event_ms for one in made), np.float64, len(made)) / 1e3
        self.flow.predictions(at, at - events)

    def _readable(self, count: int, bad: int) -> None:
        self.counts["unreadable"] += bad
        self._tried, self._unreadable = self._tried + count, self._unreadable + bad
        if self._tried < _UNREADABLE_OF:
            return
        share = self._unreadable / self._tried
        self._unreadable_on = share >= _UNREADABLE_SHARE * (0.5 if self._unreadable_on else 1.0)
        self._take(findings.of_unreadable(self.watched.pipeline, self._unreadable_on, share, _UNREADABLE_SHARE))
        self._tried = self._unreadable = 0

    def _adapt(self, now: float) -> None:
        """Follow as many keys as the predictions of the last seconds allow."""
        count = self.counts["predictions"]
        if self._rate_from is None or now - self._rate_from[0] >= 2.0:
            if self._rate_from is not None:
                rate = (count - self._rate_from[1]) / (now - self._rate_from[0])
                self.labelled.follow(self.watched.labels_per_s / max(rate, 1.0))
            self._rate_from = now, count

    @staticmethod
    def _kind(group: Group, column: str) -> str:
        place = next(i for i, spec in enumerate(group.specs) if spec.name == column)
        reference = group.references[place]
        return reference.kind if reference is not None else group.specs[place].kind
