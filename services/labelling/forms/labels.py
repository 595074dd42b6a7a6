"""From what a person enters to a record for the labels topic: checked as ingest checks labels, every field by name."""

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from headrace.contracts.labelling import LabelItem
from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.pipeline import Pipeline
from headrace.model.values import number_check
from services.labelling.errors import BadRequestError
from services.labelling.forms.fields import FormField, choices_of_task, fields_of


class LabelForm:
    """The label of a pipeline: its form, and its records. See `services.labelling.work.desk.Labels`."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline, self._type = pipeline, pipeline.model.label_type()
        names = {field.name: field.encode_name for field in msgspec.structs.fields(self._type)}
        events = {field.name: field.encode_name for field in msgspec.structs.fields(pipeline.model.event_type())}
        self.key, self.event_key = names[pipeline.model.key], events[pipeline.model.key]
        self.event_fields = tuple(events.values())
        self._known = frozenset(names.values())
        self._check = number_check(self._type, from_json=True)
        self.fields = fields_of(self._type, pipeline.model.key)
        self._offer_classes()

    def described(self) -> dict[str, Any]:
        """The form for people, and the schemas for programs."""
        event = self._pipeline.model.event_type()
        return {
            "key": self.key,
            "fields": msgspec.to_builtins(self.fields),
            "schema": msgspec.json.schema(self._type),
            "event": msgspec.json.schema(event),
        }

    def field(self, name: str) -> FormField | None:
        """The field of that name; None if there is none."""
        return next((field for field in self.fields if field.name == name), None)

    def encode(self, item: LabelItem, given: Mapping[str, Any]) -> bytes:
        """See `Labels`."""
        key = self._key_of(item)
        if self.key in given and str(given[self.key]) != str(key):
            raise BadRequestError(f"{self.key}: the item's is {key!r}", self.key)
        for name in given:
            if name not in self._known:
                known = ", ".join(field.name for field in self.fields)
                raise BadRequestError(f"{name}: {self._type.__name__} has {known}", name)
        self._check_choices(given)
        value = _json({self.key: key, **{name: part for name, part in given.items() if name != self.key}})
        try:
            label = self._pipeline.label_decoder.decode(value)
        except DECODE_ERRORS as error:
            problem = json_problem(value, error)
            raise BadRequestError(str(problem), _named(problem.field, problem.problem)) from None
        if (bad := self._check(label)) is not None:
            raise BadRequestError(str(bad), bad.field)
        return msgspec.json.encode(label)

    def entered(self, label: bytes) -> dict[str, Any]:
        """What a person would enter for a label: its fields without the key."""
        return {name: value for name, value in msgspec.json.decode(label).items() if name != self.key}

    def _key_of(self, item: LabelItem) -> Any:
        """The item's key in its own type, as the event has it."""
        event = msgspec.json.decode(item.event)
        return event[self.event_key] if isinstance(event, dict) and self.event_key in event else self._typed(item.key)

    def _typed(self, key: str) -> Any:
        kind = next(field.type for field in msgspec.structs.fields(self._type) if field.encode_name == self.key)
        try:
            return msgspec.to_builtins(msgspec.convert(key, kind, strict=False))
        except msgspec.ValidationError as error:
            raise BadRequestError(f"{self.key}: {key!r}: {error}", self.key) from None

    def _check_choices(self, given: Mapping[str, Any]) -> None:
        """Choices that are the task's and not the struct's; the struct checks its own."""
        for field in self.fields:
            if field.choices is None or field.name not in given:
                continue
            value = given[field.name]
            if value is None and field.nullable:
                continue
            values = value if field.kind == "choices" and isinstance(value, list) else [value]
            if wrong := [one for one in values if one not in field.choices]:
                raise BadRequestError(f"{field.name}: {wrong[0]!r} is none of {_shown(field.choices)}", field.name)

    def _offer_classes(self) -> None:
        """Offer the task's classes as choices of the label's only field, where `target` says that they are that."""
        model = self._pipeline.model
        several = model.task == "multilabel"
        field = choices_of_task(self.fields, model.classes, several=several)
        if field is None:
            return
        values: list[Any] = list(range(len(model.classes))) if field.kind == "integer" else list(model.classes)
        if all(self._target(field.name, [one] if several else one, several=several) for one in values):
            field.choices, field.kind = values, "choices" if several else "choice"

    def _target(self, name: str, value: Any, *, several: bool) -> bool:
        """Whether a label with this value says that it is of this class."""
        key = next(field for field in msgspec.structs.fields(self._type) if field.encode_name == self.key)
        with contextlib.suppress(Exception):  # the author's code: whatever it raises, these are not its classes
            sample: Any = "0" if key.type is str else 0
            label = msgspec.convert({self.key: sample, name: value}, self._type)
            said = self._pipeline.model.target(label)
            return list(said) == value if several else bool(said == value)
        return False


def _json(value: Any) -> bytes:
    """JSON of what came as JSON.

    Raises:
        BadRequestError: it holds text that is not Unicode.
    """
    try:
        return msgspec.json.encode(value)
    except (UnicodeError, RecursionError, TypeError) as error:
        raise BadRequestError(f"label: {error}") from None


def _named(field: str, problem: str) -> str:
    """The field that is wrong; msgspec names a missing one in the text only."""
    if field or "missing required field `" not in problem:
        return field
    return problem.partition("missing required field `")[2].partition("`")[0]


def _shown(choices: list[Any]) -> str:
    return ", ".join(map(repr, choices[:20])) + (", ..." if len(choices) > 20 else "")
