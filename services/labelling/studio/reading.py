"""Label Studio's tasks as items and decisions.

A task is an item by its `meta.headrace`, else by the key in its `data`. Each annotation is a decision of who completed
it, and stays that one however often its file is imported. What Headrace does not use of tasks and annotations is kept
and exported again; a result that is no field of the label is refused by name.
"""

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec

from headrace.contracts.labelling import NULL
from services.labelling.errors import BadRequestError
from services.labelling.forms.labels import LabelForm
from services.labelling.studio.results import StudioError, label_of
from services.labelling.studio.writing import META

_USED_OF_TASK = frozenset({"data", "annotations", "total_annotations", "cancelled_annotations"})
_USED_OF_ANNOTATION = frozenset({"result", "was_cancelled", "unique_id"})
_LONGEST_NAME = 100


class Annotation(msgspec.Struct):
    """One annotation: a decision that was made elsewhere. `label` of None is a skip."""

    id: str
    labeller: str
    at_ms: int
    lead_ms: int
    label: dict[str, Any] | None
    extra: msgspec.Raw


class Task(msgspec.Struct):
    """One task. `item` is the id of the item that it was exported from, or "" ; `event` None where `data` is none."""

    item: str
    key: str
    event: msgspec.Raw
    annotations: list[Annotation]
    extra: msgspec.Raw


def parse_tasks(body: bytes) -> list[Any]:
    """The tasks in a file: an array, or one task.

    Raises:
        BadRequestError: it is not JSON.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(f"not JSON: {error}") from None
    return found if isinstance(found, list) else [found]


class Reader:
    """Reads tasks for a pipeline."""

    def __init__(self, form: LabelForm, pipeline: str, event_decoder: msgspec.json.Decoder[Any]) -> None:
        self._form, self._pipeline, self._event_decoder = form, pipeline, event_decoder

    def task(self, given: Any, number: int) -> Task:
        """Read one task, the `number`-th of its file.

        Raises:
            StudioError: it cannot be read; the text says where and why.
        """
        where = f"task {number}"
        if not isinstance(given, dict):
            raise StudioError(f"{where}: not an object")
        data = given.get("data")
        if not isinstance(data, dict):
            raise StudioError(f"{where}: `data` is not an object")
        ours = self._ours(given, where)
        key = ours.get("key") or data.get(self._form.event_key)
        if not isinstance(key, str | int | float) or isinstance(key, bool) or key == "":
            raise StudioError(f"{where}: `data` has no {self._form.event_key!r}, the event's key")
        annotations = given.get("annotations") or []
        if not isinstance(annotations, list):
            raise StudioError(f"{where}: `annotations` is not a list")
        read = [self._annotation(one, f"{where}, annotation {i}", str(key)) for i, one in enumerate(annotations)]
        read.sort(key=lambda one: one.at_ms)
        return Task(str(ours.get("item") or ""), str(key), self._event(data), read, _rest(given, _USED_OF_TASK))

    def _ours(self, given: Mapping[str, Any], where: str) -> Mapping[str, Any]:
        meta = given.get("meta") or {}
        ours = meta.get(META) if isinstance(meta, dict) else None
        if not isinstance(ours, dict):
            return {}
        if ours.get("pipeline") != self._pipeline:
            raise StudioError(f"{where}: it is of pipeline {ours.get('pipeline')!r}, this is {self._pipeline!r}")
        return ours

    def _event(self, data: Mapping[str, Any]) -> msgspec.Raw:
        """The event, if `data` is one whole; nothing else is shown as one."""
        encoded = msgspec.json.encode(data)
        try:
            self._event_decoder.decode(encoded)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return NULL
        return msgspec.Raw(encoded)

    def _annotation(self, given: Any, where: str, key: str) -> Annotation:
        if not isinstance(given, dict):
            raise StudioError(f"{where}: not an object")
        at_ms = _time(given.get("created_at"), where)
        skipped = bool(given.get("was_cancelled", False))
        label = None if skipped else label_of(given.get("result"), self._form.fields, where)
        labeller, lead = _name(given.get("completed_by"), where), given.get("lead_time") or 0
        if isinstance(lead, bool) or not isinstance(lead, int | float):
            raise StudioError(f"{where}: `lead_time` is not a number of seconds")
        identity = given.get("unique_id")
        if not isinstance(identity, str) or not 0 < len(identity) <= _LONGEST_NAME:
            said = msgspec.json.encode([key, labeller, at_ms, label], order="sorted")
            identity = blake2b(said, digest_size=8).hexdigest()
        return Annotation(identity, labeller, at_ms, round(lead * 1000), label, _rest(given, _USED_OF_ANNOTATION))


def _rest(given: Mapping[str, Any], used: frozenset[str]) -> msgspec.Raw:
    """What is not used, to be exported again."""
    rest = {name: value for name, value in given.items() if name not in used}
    if isinstance(rest.get("meta"), dict):
        rest["meta"] = {name: value for name, value in rest["meta"].items() if name != META}
    return msgspec.Raw(msgspec.json.encode(rest)) if rest else NULL


def _name(completed_by: Any, where: str) -> str:
    """Who completed an annotation: an address, a name or a number."""
    if isinstance(completed_by, dict):
        completed_by = next((completed_by[n] for n in ("email", "username", "id") if completed_by.get(n)), None)
    if isinstance(completed_by, bool) or not isinstance(completed_by, str | int):
        raise StudioError(f"{where}: `completed_by` names nobody")
    name = completed_by if isinstance(completed_by, str) else f"user {completed_by}"
    if not 0 < len(name) <= _LONGEST_NAME:
        raise StudioError(f"{where}: `completed_by` has {len(name)} characters, 1 to {_LONGEST_NAME} are a name")
    return name


def _time(text: Any, where: str) -> int:
    if text is None:
        return 0
    try:
        return round(datetime.fromisoformat(text).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        raise StudioError(f"{where}: `created_at` is {text!r}, not a time in ISO 8601") from None
