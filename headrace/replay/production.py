"""What `headrace produce` does: which records it takes, at what pace, and to which topics."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.contracts import topics
from headrace.model.pipeline import Pipeline
from headrace.model.source import BadRow, Item
from headrace.replay.files import read_files
from headrace.replay.pace import Pace, at_once, by_event_time, by_rate
from headrace.replay.producing import PRODUCER, Counts, KafkaOutlet, Producing
from headrace.replay.resuming import after, produced
from headrace.replay.sources import own_records
from headrace.replay.text import FileFormat
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings

if TYPE_CHECKING:
    from headrace.datasets.using.opened import OpenSet


@dataclass(frozen=True)
class Wanted:
    """What to produce and how.

    With `events` or `labels` it is files, read by `form` and merged by `time_field`. With `sets` it is data sets,
    merged by their own times, or by `time_field`. Else it is the pipeline's own source with `options` (`name=value`),
    over and over with `loop`. `speed` (event-time seconds a second) and `rate` (events a second) exclude each other;
    without either it is as fast as Kafka takes the records.
    """

    events: Path | None = None
    labels: Path | None = None
    form: FileFormat = field(default_factory=FileFormat)
    time_field: str | None = None
    options: Sequence[str] = ()
    loop: bool = False
    speed: float | None = None
    rate: float | None = None
    limit: int | None = None
    resume: bool = False
    strict: bool = False
    sets: "Sequence[OpenSet]" = ()

    @property
    def files(self) -> bool:
        """Whether records come from files."""
        return self.events is not None or self.labels is not None


def pace_of(wanted: Wanted) -> Pace:
    """When each record is due.

    Raises:
        ConfigError: speed and rate contradict each other or the records.
    """
    speed, rate = wanted.speed, wanted.rate
    if speed is not None and rate is not None:
        raise ConfigError("--speed and --rate exclude each other")
    for flag, value in (("--speed", speed), ("--rate", rate)):
        if value is not None and value <= 0:
            raise ConfigError(f"{flag} {value:g}: must be above 0")
    if speed is not None and any(not (wanted.time_field or one.manifest.time) for one in wanted.sets):
        raise ConfigError("--speed needs the time of each row, and a set names none", hint="--time-field COLUMN")
    if speed is not None and wanted.files and wanted.time_field is None:
        raise ConfigError("--speed needs the time of each row", hint="name its field: --time-field FIELD")
    if speed is not None:
        return by_event_time(speed)
    return at_once if rate is None else by_rate(rate)


def records_of(pipeline: Pipeline, wanted: Wanted) -> Iterable[Item]:
    """The records, with a BadRow in the place of each row that does not fit.

    Raises:
        ConfigError: a file or an option of the source does not fit.
        PipelineError: there is no source.
    """
    if wanted.sets:
        from headrace.datasets.using.records import records_of_sets

        return records_of_sets(pipeline, wanted.sets, wanted.time_field or "")
    if not wanted.files:
        return own_records(pipeline, wanted.options, loop=wanted.loop)
    types = (pipeline.model.event_type(), pipeline.model.label_type())
    return read_files(wanted.events, wanted.labels, types, wanted.time_field, wanted.form)


class Production:
    """Produces what is `wanted` to the pipeline's topics. What is wrong with it is found before Kafka is needed.

    Raises:
        ConfigError, PipelineError: the records cannot be had.
    """

    def __init__(self, pipeline: Pipeline, wanted: Wanted, on_bad_row: Callable[[BadRow], None]) -> None:
        self._pipeline, self._wanted, self._on_bad_row = pipeline, wanted, on_bad_row
        self._pace = pace_of(wanted)
        self._records = records_of(pipeline, wanted)
        self._producing: Producing | None = None
        self.stopped = False

    def run(self, settings: ServiceSettings) -> Counts:
        """Make the topics that are missing, and produce; on return everything was acknowledged.

        Raises:
            DataError: a bad row, where it is to be strict.
            DependencyError: Kafka does not answer, or did not take everything.
        """
        name, key_of, wanted = self._pipeline.name, self._pipeline.model.key_of, self._wanted
        kafka.ensure_topics(settings, self._pipeline.topics)
        names = {"events": topics.EVENTS.name(name), "labels": topics.LABELS.name(name)}
        records = self._records
        if wanted.resume:
            records = after(records, key_of, produced(settings, names))
        outlet = KafkaOutlet(kafka.producer(settings, **PRODUCER), names)
        self._producing = Producing(
            outlet, key_of, self._pace, wanted.limit, strict=wanted.strict, on_bad_row=self._on_bad_row,
            stopped=self.stopped,
        )  # fmt: skip
        return self._producing.run(records)

    def stop(self) -> None:
        """End `run` after the record in hand; what was taken is still acknowledged. Safe in a signal handler."""
        self.stopped = True
        if self._producing is not None:
            self._producing.stopped = True
