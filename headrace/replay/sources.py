"""Records of a pipeline's own source: its options, replaying it again and again, and a check of every record."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from headrace.model.pipeline import Pipeline
from headrace.model.round_trip import RoundTrip
from headrace.model.source import BadRow, Item, Source, Timed
from headrace.runtime.errors import ConfigError


def own_records(pipeline: Pipeline, given: Iterable[str] = (), *, loop: bool = False) -> Iterator[Item]:
    """What the pipeline's source gives, each record checked; `given` are options, `name=value`.

    Raises:
        PipelineError: the pipeline has no source.
        ConfigError: the source takes no such option.
    """
    source = pipeline.source()
    options = options_of(source, given)
    records = looped(lambda: source.replay(**options), pipeline.model.key) if loop else source.replay(**options)
    return checked(records, pipeline, type(source).__name__)


def checked(records: Iterable[Timed], pipeline: Pipeline, name: str) -> Iterator[Item]:
    """The records of a source called `name`, with a BadRow in the place of each that would not read back as it is.

    Such a record would become a dead letter, or be read differently: NaN in a field that may be None is read as None.
    """
    trips = {"events": RoundTrip(pipeline.event_decoder), "labels": RoundTrip(pipeline.label_decoder)}
    for number, record in enumerate(records, 1):
        if not math.isfinite(record.at):
            yield BadRow(f"record {number} of {name}", "at", f"{record.at}, expected a time")
        elif record.kind not in trips:
            yield BadRow(f"record {number} of {name}", "kind", f"{record.kind!r}, expected 'events' or 'labels'")
        elif (bad := trips[record.kind].problem(record.value)) is not None:
            yield BadRow(f"record {number} of {name}", bad.field, bad.problem)
        else:
            yield record


def options_of(source: Source, given: Iterable[str]) -> dict[str, Any]:
    """Options `name=value` as the source declares them, each of its default's type.

    Raises:
        ConfigError: no such option, or a value that does not fit.
    """
    options = dict(source.options)
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or name not in options:
            known = ", ".join(f"{n}={v}" for n, v in source.options.items()) or "none"
            raise ConfigError(
                f"--option {text}: {type(source).__name__} takes no such option", hint=f"it takes {known}"
            )
        default = source.options[name]
        try:
            options[name] = value if default is None else msgspec.convert(value, type(default), strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"--option {text}: {error}") from error
    return options


def looped(replay: Callable[[], Iterator[Timed]], key: str) -> Iterator[Timed]:
    """The replay over and over: time goes on, and keys of later rounds end in -1, -2, ... so that they stay unique."""
    at = start = 0.0
    for round_ in itertools.count():
        shift = 0.0
        for record in replay():
            if round_ and not shift:
                shift = at - record.at + 1.0
            value = record.value
            if round_:
                value = msgspec.structs.replace(value, **{key: _again(getattr(value, key), round_)})
            at = record.at + shift
            start = start or at
            yield Timed(at, record.kind, value)
        if not start:
            return  # an empty source stays empty


def _again(key: Any, round_: int) -> Any:
    if isinstance(key, str):
        return f"{key}-{round_}"
    raise ConfigError(f"--loop needs text keys to tell rounds apart, and the key {key!r} is not text")
