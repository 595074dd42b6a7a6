"""The JSON bodies of requests, as JSON schemas."""

from typing import Any


def _field(kind: str, text: str) -> dict[str, str]:
    return {"type": kind, "description": text}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": properties}


_DATA: dict[str, Any] = {
    "data": {"type": "string", "enum": ["topic", "files", "source", "datasets"], "default": "topic"},
    "datasets": {"type": "array", "items": _field("string", "a data set: name@version")},
    "model": _field("string", "one of the pipeline's further models"),
    "start": _field("string", "of the topic: earliest, a time, or partition:offset,..."),
    "end": _field("string", "not included; also latest"),
    "events": _field("string", "file of the service's folder"),
    "labels": _field("string", "file of the service's folder"),
    "time_field": _field("string", "of both files: when each became known"),
    "delimiter": _field("string", "of CSV files"),
    "encoding": _field("string", "of the files"),
    "options": {"type": "array", "items": _field("string", "of the source: name=value")},
    "limit": _field("integer", "the first so many examples of files or source"),
}
_TRAINING: dict[str, Any] = {
    **_DATA,
    "epochs": _field("integer", "passes over the training part"),
    "validation": _field("number", "share that chooses the best epoch"),
    "test": _field("number", "share at the end, for the report alone"),
    "patience": _field("integer", "end after so many epochs without a better one; 0: never"),
    "settings": _field("object", "of `training` in pipeline.yaml, what is different"),
}
TRAINING_BODY = _object(
    **_TRAINING, hand_over=_field("boolean", "publish the result; the live trainer goes on from it")
)
STUDY_BODY = _object(
    training=_object(**_TRAINING),
    space={"type": "array", "items": _field("string", "name=low..high, name=low..high:log or name=a,b,c")},
    trials=_field("integer", "how many"),
    workers=_field("integer", "trials at once"),
    prune=_field("boolean", "end trials early that are worse than others"),
    seed=_field("integer", "of the search"),
)
EVALUATION_BODY = _object(
    job=_field("string", "the training job whose weights are compared with the version that serves"),
    on={**_object(**_DATA), "description": "other examples than the job's test part"},
    last=_field("integer", "only so many of them, the newest; 0: all"),
)
HAND_OVER_BODY = _object(
    job=_field("string", "the training job that is published, once"),
    model=_field("string", 'the further model as which it is published; default as which it was trained, "": champion'),
    held=_field("boolean", "no worker serves it until an operator says so"),
)
