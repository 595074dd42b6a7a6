"""Predict, then learn, over a source in event time: what the services do together, in one process and one pass."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from headrace.contracts.records import Example
from headrace.evaluation.judge import Judged
from headrace.evaluation.port import Evidence, Task
from headrace.model.pipeline import Pipeline
from headrace.model.source import Timed
from services.trainer.batches import Item
from services.trainer.learner import Learner

PREDICT_AT_ONCE = 256


@dataclass
class Errors:
    """Errors of the model and of its baselines on the same events, in the order in which labels came, with the keys."""

    by_name: dict[str, list[float]] = field(default_factory=dict)
    evidence: dict[str, list[Evidence]] = field(default_factory=dict)
    """What the task's metrics need of each, by name."""
    keys: list[str] = field(default_factory=list)

    def mean(self, name: str, start: int = 0, stop: int | None = None) -> float:
        """Mean error over labels start..stop."""
        part = self.by_name[name][start:stop]
        return sum(part) / len(part)

    def metrics(self, task: Task, name: str, start: int = 0, stop: int | None = None) -> dict[str, float]:
        """The task's metrics over labels start..stop."""
        part = np.array(self.evidence[name][start:stop])
        return task.metrics(task.sums(part, np.ones(len(part))))

    def add(self, name: str, judged: Judged) -> None:
        """One more label."""
        self.by_name.setdefault(name, []).append(judged.error)
        self.evidence.setdefault(name, []).append(judged.evidence)


def progressive(pipeline: Pipeline, records: Iterable[Timed], *, lag: int | None = None) -> Errors:
    """Every event is predicted with the weights last published, and trained on once its label is there.

    Weights are published every `lag` examples, by default the pipeline's own `checkpoint_examples`.
    """
    model, training = pipeline.model, pipeline.spec.training
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small networks only wait for one another's threads
    learner = Learner(pipeline, training.batch_size)
    serving, learned, published = copy.deepcopy(learner.lanes[0].served).eval(), 0, 0
    baselines = model.baselines()
    errors = Errors({name: [] for name in ("model", *baselines)})
    waiting: list[Any] = []  # events not predicted yet; all of them before the first of their labels
    predicted: dict[str, tuple[Any, Any, dict[str, Any]]] = {}
    batch: list[Item] = []

    def predict() -> None:
        with torch.no_grad():
            outputs = model.predictions(serving(model.features(waiting)))
        for event, prediction in zip(waiting, outputs, strict=True):
            predicted[model.key_of(event)] = (event, prediction, guesses.pop(model.key_of(event)))
        waiting.clear()

    guesses: dict[str, dict[str, Any]] = {}
    for record in records:
        key = model.key_of(record.value)
        if record.kind == "events":
            guesses[key] = {name: baseline.predict(record.value) for name, baseline in baselines.items()}
            waiting.append(record.value)
            if len(waiting) >= PREDICT_AT_ONCE:
                predict()
            continue
        if key in guesses:
            predict()
        event, prediction, guessed = predicted.pop(key)
        errors.add("model", model.judge(prediction, record.value))
        errors.keys.append(key)
        for name, baseline in baselines.items():
            errors.add(name, model.judge(guessed[name], record.value))
            baseline.learn(event, record.value)
        batch.append(_item(len(errors.by_name["model"]), key, event, record.value))
        if len(batch) == training.batch_size:
            assert learner.learn(batch) == []
            learned += len(batch)
            batch.clear()
            if learned - published >= (training.checkpoint_examples if lag is None else lag):
                if waiting:
                    predict()
                serving.load_state_dict(learner.lanes[learner.followed].weights())
                published = learned
    torch.set_num_threads(threads)
    return errors


def _item(number: int, key: str, event: Any, label: Any) -> Item:
    return Item(number, 0, number, Example(key, event, label, (0, number), (0, number), number, number))
