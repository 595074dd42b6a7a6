"""A label's fields as results of Label Studio, and back.

A number is a result of type `number`; a choice, a bool and several choices are `choices`; text is `textarea`, a time
`datetime`; what has no form of its own is text in JSON. `from_name` is the field.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import quoteattr

import msgspec

from services.labelling.forms.fields import FormField

OBJECT = "event"
"""`to_name` of every result: the object that is labelled."""
TYPES = {"number": "number", "integer": "number", "boolean": "choices", "choice": "choices", "choices": "choices",
         "text": "textarea", "datetime": "datetime", "json": "textarea"}  # fmt: skip
_KNOWN = frozenset({"id", "from_name", "to_name", "type", "value", "origin", "score", "readonly", "hidden"})


class StudioError(ValueError):
    """Something in a file of Label Studio cannot be read; the text says where and what."""


def results_of(label: Mapping[str, Any], fields: Sequence[FormField]) -> list[dict[str, Any]]:
    """The results of a label; a field that is null has none."""
    return [
        {
            "from_name": field.name,
            "to_name": OBJECT,
            "type": TYPES[field.kind],
            "value": _value(field, label[field.name]),
        }
        for field in fields
        if label.get(field.name) is not None
    ]


def _value(field: FormField, value: Any) -> dict[str, Any]:
    kind = TYPES[field.kind]
    if kind == "choices":
        several = value if field.kind == "choices" else [value]
        return {"choices": [_as_choice(one) for one in several]}
    if kind == "textarea":
        return {"text": [value if field.kind == "text" else msgspec.json.encode(value).decode()]}
    return {kind: value}


def _as_choice(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def label_of(results: Any, fields: Sequence[FormField], where: str) -> dict[str, Any]:
    """The label that results make, by field.

    Raises:
        StudioError: a result is of another type or field, or twice of one.
    """
    if not isinstance(results, list):
        raise StudioError(f"{where}: `result` is not a list")
    by_name = {field.name: field for field in fields}
    label: dict[str, Any] = {}
    for i, result in enumerate(results):
        place = f"{where}, result {i}"
        if not isinstance(result, dict):
            raise StudioError(f"{place}: not an object")
        if unknown := sorted(set(result) - _KNOWN):
            raise StudioError(f"{place}: {unknown[0]!r} is unknown here")
        name = result.get("from_name")
        field = by_name.get(name) if isinstance(name, str) else None
        if field is None:
            raise StudioError(f"{place}: from_name {name!r} is no field of the label: {', '.join(by_name)}")
        if field.name in label:
            raise StudioError(f"{place}: {name!r} has a result already")
        if result.get("type") != TYPES[field.kind]:
            raise StudioError(f"{place}: type {result.get('type')!r}, {name!r} takes {TYPES[field.kind]!r}")
        label[field.name] = _read(field, result.get("value"), place)
    missing = [field.name for field in fields if field.required and field.nullable and field.name not in label]
    return {**label, **dict.fromkeys(missing)}


def _read(field: FormField, value: Any, place: str) -> Any:
    kind = TYPES[field.kind]
    name = "text" if kind == "textarea" else kind
    if not isinstance(value, dict) or set(value) != {name}:
        raise StudioError(f"{place}: `value` has {name!r} and nothing else")
    found = value[name]
    if kind == "choices":
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise StudioError(f"{place}: `choices` is a list of texts")
        chosen = [_choice(field, one, place) for one in found]
        if field.kind == "choices":
            return chosen
        if len(chosen) != 1:
            raise StudioError(f"{place}: {len(chosen)} choices, {field.name!r} takes one")
        return chosen[0]
    if kind == "textarea":
        texts = [found] if isinstance(found, str) else found
        if not isinstance(texts, list) or len(texts) != 1 or not isinstance(texts[0], str):
            raise StudioError(f"{place}: `text` is one text")
        return texts[0] if field.kind == "text" else _from_json(texts[0], place)
    return int(found) if field.kind == "integer" and isinstance(found, float) and found.is_integer() else found


def _choice(field: FormField, text: str, place: str) -> Any:
    choices: Iterable[Any] = (True, False) if field.kind == "boolean" else field.choices or ()
    for choice in choices:
        if _as_choice(choice) == text:
            return choice
    raise StudioError(f"{place}: {text!r} is none of {', '.join(map(_as_choice, choices))}")


def _from_json(text: str, place: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise StudioError(f"{place}: `text` is to be JSON: {error}") from None


def configuration(fields: Sequence[FormField], event_fields: Iterable[str]) -> str:
    """Label Studio's labelling configuration of such tasks: the event's fields as text, a control for each field."""
    shown = [_text(i, name) for i, name in enumerate(event_fields)]
    return "\n".join(["<View>", *shown, *map(_control, fields), "</View>", ""])


def _text(index: int, field: str) -> str:
    """The first text is the object that is labelled."""
    name = OBJECT if index == 0 else f"{OBJECT}-{field}"
    return f"  <Header value={quoteattr(field)}/>\n  <Text name={quoteattr(name)} value={quoteattr('$' + field)}/>"


def _control(field: FormField) -> str:
    name, required = quoteattr(field.name), ' required="true"' if field.required and not field.nullable else ""
    head = f"name={name} toName={quoteattr(OBJECT)}{required}"
    title = f"  <Header value={quoteattr(field.title or field.name)}/>\n"
    match TYPES[field.kind]:
        case "choices":
            several = ' choice="multiple"' if field.kind == "choices" else ' choice="single-radio"'
            values: Sequence[Any] = (True, False) if field.kind == "boolean" else field.choices or ()
            choices = "".join(f"    <Choice value={quoteattr(_as_choice(value))}/>\n" for value in values)
            return f"{title}  <Choices {head}{several}>\n{choices}  </Choices>"
        case "number":
            bounds = {"min": field.minimum, "max": field.maximum, "step": field.multiple_of}
            limits = "".join(f' {word}="{value:g}"' for word, value in bounds.items() if value is not None)
            return f"{title}  <Number {head}{limits}/>"
        case "datetime":
            return f"{title}  <DateTime {head}/>"
        case _:
            return f'{title}  <TextArea {head} maxSubmissions="1"/>'
