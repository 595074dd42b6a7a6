"""Checking the label's fields that pipeline.yaml names against the label's type."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from headrace.model.join_spec import LabelsSpec

Location = tuple[str | int, ...]


def label_problems(spec: LabelsSpec, label_type: type[msgspec.Struct], key: str) -> Iterator[tuple[Location, str]]:
    """What is wrong with the labels that `join.labels` writes out: the field, and why."""
    if spec.missing.default is not None:
        where: Location = ("join", "labels", "missing", "default")
        yield from _problems(where, spec.missing.default, label_type, key)
        missing = [f.encode_name for f in _fields(label_type, key).values() if f.required]
        for name in sorted(set(missing) - set(spec.missing.default)):
            yield where, f"{label_type.__name__} needs a value for {name!r}"
    for i, sampling in enumerate(spec.sampling):
        yield from _problems(("join", "labels", "sampling", i, "when"), sampling.when, label_type, key)


def converted(values: Mapping[str, Any], label_type: type[msgspec.Struct], key: str) -> dict[str, Any]:
    """Values by the struct's own field names and in its types, of values by names as in its JSON.

    Raises:
        msgspec.ValidationError: one does not fit.
    """
    fields = _fields(label_type, key)
    return {fields[name].name: msgspec.convert(value, fields[name].type) for name, value in values.items()}


def _problems(
    where: Location, values: Mapping[str, Any], label_type: type[msgspec.Struct], key: str
) -> Iterator[tuple[Location, str]]:
    fields = _fields(label_type, key)
    for name, value in values.items():
        if name not in fields:
            yield (*where, name), f"{label_type.__name__} has, beside its key, {', '.join(fields) or 'no field'}"
            continue
        try:
            msgspec.convert(value, fields[name].type)
        except msgspec.ValidationError as error:
            yield (*where, name), f"{value!r} does not fit {label_type.__name__}: {error}"


def _fields(label_type: type[msgspec.Struct], key: str) -> dict[str, msgspec.structs.FieldInfo]:
    """Fields by their names in JSON, the key apart."""
    return {f.encode_name: f for f in msgspec.structs.fields(label_type) if f.name != key}
