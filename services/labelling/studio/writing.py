"""Items as Label Studio's tasks. What a file had beside, when an item was imported, is in them again."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.contracts.labelling import Decision
from headrace.contracts.plain_values import time_of
from headrace.evaluation.names import TaskName
from services.labelling.forms.labels import LabelForm
from services.labelling.studio.results import results_of
from services.labelling.work.entry import Entry

META = "headrace"
"""Of a task's `meta`: what ties it to the item."""


def number_of(name: str) -> int:
    """A number for a name, always the same: Label Studio names tasks and annotations by numbers."""
    return int.from_bytes(blake2b(name.encode(), digest_size=6).digest(), "big")


class Writer:
    """Makes tasks of a pipeline's items."""

    def __init__(self, form: LabelForm, pipeline: str, task: TaskName, classes: Sequence[str]) -> None:
        self._form, self._pipeline, self._task, self._classes = form, pipeline, task, classes

    def task(self, entry: Entry) -> dict[str, Any]:
        """One item as a task."""
        item = entry.item
        extra: dict[str, Any] = msgspec.json.decode(item.extra) or {}
        event = msgspec.json.decode(item.event)
        annotations = [self._annotation(d) for d in entry.live]
        meta = {
            "pipeline": self._pipeline, "item": item.id, "key": item.key, "state": entry.work.state,
            "queues": sorted(entry.work.queues), "model": item.model, "version": item.version,
            "prediction": msgspec.json.decode(item.prediction),
        }  # fmt: skip
        return {
            "id": number_of(item.id),
            **{name: value for name, value in extra.items() if name not in ("meta", "predictions")},
            "data": event if isinstance(event, dict) else {self._form.event_key: item.key},
            "meta": {**extra.get("meta", {}), META: meta},
            "annotations": annotations,
            "predictions": [*self._predictions(entry), *extra.get("predictions", [])],
            "total_annotations": sum(not a["was_cancelled"] for a in annotations),
            "cancelled_annotations": sum(a["was_cancelled"] for a in annotations),
        }

    def _annotation(self, decision: Decision) -> dict[str, Any]:
        extra: dict[str, Any] = msgspec.json.decode(decision.extra) or {}
        skipped = decision.kind == "skip"
        results = [] if skipped else results_of(self._form.entered(bytes(decision.label)), self._form.fields)
        return {
            "id": number_of(decision.id),
            "completed_by": {"email": decision.labeller},
            "created_at": time_of(decision.at_ms / 1000),
            "lead_time": decision.lead_ms / 1000,
            **extra,
            "unique_id": decision.id,
            "was_cancelled": skipped,
            "result": results,
        }

    def _predictions(self, entry: Entry) -> list[dict[str, Any]]:
        """The model's prediction, where it has the form of the label's only field."""
        prediction = msgspec.json.decode(entry.item.prediction)
        guess = self._guess(prediction)
        if guess is None:
            return []
        label: Mapping[str, Any] = {self._form.fields[0].name: guess[0]}
        made: dict[str, Any] = {
            "model_version": f"{entry.item.model} {entry.item.version}",
            "result": results_of(label, self._form.fields[:1]),
        }
        return [made if guess[1] is None else {**made, "score": guess[1]}]

    def _guess(self, prediction: Any) -> tuple[Any, float | None] | None:
        """The value that the prediction means for the label's only field, and its probability."""
        fields = self._form.fields
        if prediction is None or len(fields) != 1:
            return None
        kind, plain = fields[0].kind, prediction
        if isinstance(prediction, dict):
            plain = next((prediction[n] for n in ("value", "probability", "probabilities") if n in prediction), None)
        if kind in ("number", "integer") and self._task in ("regression", "count") and isinstance(plain, int | float):
            return (plain if kind == "number" else round(plain)), None
        if kind == "boolean" and self._task == "binary" and isinstance(plain, int | float):
            return plain >= 0.5, max(plain, 1 - plain)
        if kind == "choice" and self._task == "multiclass" and fields[0].choices:
            return self._likeliest(plain, fields[0].choices)
        return None

    def _likeliest(self, chances: Any, choices: Sequence[Any]) -> tuple[Any, float] | None:
        if isinstance(chances, dict):
            chances = [chances.get(name, 0.0) for name in self._classes]
        if not isinstance(chances, list) or len(chances) != len(choices) or not chances:
            return None
        best = max(range(len(chances)), key=chances.__getitem__)
        return choices[best], chances[best]
