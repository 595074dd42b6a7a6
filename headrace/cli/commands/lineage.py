"""`headrace lineage`: from a version, or from a prediction, back to examples, code and the versions before."""

import time
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect, model_named
from headrace.cli.views.lineage import show_lineage
from headrace.contracts.events_pb2 import CheckpointPublished, WeightsApplied
from headrace.contracts.records import Prediction, prediction_decoder
from headrace.launch.run_file import pipeline_of
from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.lineage import lineage_of
from headrace.rollouts.reading import APPLIED, CHECKPOINTS, ROLLOUTS, read_history
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_reader import TopicReader, resolve


class Heard(RolloutHistory):
    """Keeps the events themselves too, and which workers served which version."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self.published: list[CheckpointPublished] = []
        self.served: dict[tuple[str, int], list[str]] = {}

    def on_checkpoint(self, published: CheckpointPublished, at_us: int) -> None:
        """See `RolloutHistory.on_checkpoint`."""
        super().on_checkpoint(published, at_us)
        self.published.append(published)

    def on_report(self, report: WeightsApplied) -> None:
        """See `RolloutHistory.on_report`."""
        super().on_report(report)
        if report.state == WeightsApplied.ACTIVE:
            workers = self.served.setdefault((report.model, report.version), [])
            if report.worker not in workers:
                workers.append(report.worker)


def lineage(
    version: Annotated[int | None, typer.Argument(min=1, help="of the weights", show_default=False)] = None,
    *,
    key: Annotated[str, typer.Option(help="a prediction's key instead: the version that made the newest of it")] = "",
    model: Annotated[str | None, typer.Option(help="a model's name in the fleet (default: the run's champion)")] = None,
    run: RunOption = None,
    kafka_address: KafkaOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show what a version learned from, what made it, and who served it; read from Kafka alone.

    The versions of one trainer's life are shown together, with the range of offsets that they learned from, the digest
    of the pipeline's code, and its commit where the folder is in a git work tree (`+`: with changes). A version that a
    training job handed over names the job and its data.

    For example:

      headrace lineage 42

      headrace lineage --key UA1545-EWR-20130101
    """
    if (version is None) == (not key):
        raise ConfigError("which version?", hint="headrace lineage VERSION, or --key KEY of a prediction")
    settings = connect(run, kafka_address)
    prediction = _prediction(settings, run, key) if key else None
    if prediction is not None:
        model, version = prediction.model, prediction.version
    name = model_named(model, run)
    heard = Heard(name)
    read_history(settings, heard, {CHECKPOINTS: 0, ROLLOUTS: 0, APPLIED: time.time() - 7 * 86_400})
    found = lineage_of(heard.published, name, version or 0)
    if found is None:
        raise ConfigError(f"no version {version} of {name} was published", hint="headrace ckpt history lists them")
    status = next((s for s in heard.versions(1 << 30) if (s.model, s.version) == (name, found.version)), None)
    workers = sorted(heard.served.get((name, found.version), []))
    if as_json:
        body: dict[str, Any] = {"lineage": found, "status": status, "workers": workers, "prediction": prediction}
        typer.echo(msgspec.json.format(msgspec.json.encode(body), indent=2).decode())
        return
    console = Console(highlight=False)
    if prediction is not None:
        partition, offset = prediction.source
        console.print(f"{key}: {prediction.prediction}, of the event at {partition}:{offset}", markup=False)
        if prediction.checkpoint != found.checkpoint:
            console.print(f"made by checkpoint {prediction.checkpoint}, not the one that was published", style="red")
        console.print()
    show_lineage(found, status, workers, console)


def _prediction(settings: ServiceSettings, run: str | None, key: str) -> "Prediction[Any]":
    """The newest prediction of a key.

    Raises:
        ConfigError: there is none.
    """
    consumer = kafka.consumer(settings, "headrace.lineage", **{"enable.partition.eof": True})
    try:
        topic = resolve("predictions", kafka.metadata(kafka.admin(settings)), pipeline_of(run))
        newest, wanted = None, key.encode()
        for message in TopicReader(consumer, topic).first(1 << 62):
            if message.key() == wanted:
                newest = message.value()
    finally:
        consumer.close()
    if newest is None:
        raise ConfigError(f"{topic}: no prediction with the key {key!r}")
    found: Prediction[Any] = prediction_decoder().decode(newest)
    return found
