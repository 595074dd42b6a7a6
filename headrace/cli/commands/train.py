"""`headrace train`: epochs over a bounded set of examples, and a report."""

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores, exact_sets, storage
from headrace.cli.files import DatasetOption, DelimiterOption, EncodingOption
from headrace.cli.jobs import run_process, written
from headrace.cli.views.formats import table_console
from headrace.cli.views.training import TrainingView, show_report
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import ServiceSettings, load

MODULE = "services.trainer.offline"
LATER = "the same command goes on after the last finished epoch"


def train(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder", metavar="PIPELINE")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of the results: weights, report, state")],
    from_: Annotated[
        str, typer.Option("--from", help="where the examples topic's range begins: earliest, a time, or 0:120,1:80")
    ] = "earliest",
    to: Annotated[str, typer.Option("--to", help="where it ends, not included; also latest")] = "latest",
    events: Annotated[Path | None, typer.Option(help="train on files instead: the events ...")] = None,
    labels: Annotated[Path | None, typer.Option(help="... and their labels")] = None,
    time_field: Annotated[str, typer.Option(help="field of both files that says when each became known")] = "",
    source: Annotated[bool, typer.Option("--source", help="train on the pipeline's own source instead")] = False,
    dataset: DatasetOption = None,
    option: Annotated[list[str] | None, typer.Option(help="of the source, name=value; repeatable")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="the first so many examples of files or source")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="passes over the training part")] = 1,
    validation: Annotated[float, typer.Option(help="share of the examples that chooses the best epoch")] = 0.1,
    test: Annotated[float, typer.Option(help="share at the end, for the report alone")] = 0.1,
    patience: Annotated[int, typer.Option(min=0, help="end after so many epochs without a better one; 0: never")] = 0,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="of `training` in pipeline.yaml, name=value; repeatable")
    ] = None,
    model: Annotated[str, typer.Option(help="a further model of the pipeline (default: its champion)")] = "",
    hand_over: Annotated[
        bool, typer.Option("--hand-over", help="publish the result; the live trainer goes on from it")
    ] = False,
    track: Annotated[
        str, typer.Option(help="log the job as an MLflow run: local, or the URL of a server", show_default=False)
    ] = "",
    delimiter: DelimiterOption = None,
    encoding: EncodingOption = None,
    kafka: KafkaOption = None,
    run_dir: RunOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the report for programs")] = False,
) -> None:
    """Train a pipeline's model on a bounded set of examples: train, validation and test are cut by time.

    The examples are a range of the pipeline's examples topic, files of events and labels, or what its source replays.
    If the job is stopped or killed, the same command goes on after the last finished epoch.

    With --hand-over the result is published as the model's next version. The live trainer is fenced, and goes on from
    it: at the end of the range, or, after files or a source, where it stands.

    For example:

      headrace train examples/rides -o build/rides --source --limit 50000 --epochs 5

      headrace train examples/flights -o build/flights --from 2026-01-01 --to 2026-02-01 --epochs 3 --hand-over

      headrace train examples/rides -o build/sets --dataset rides-train --epochs 3

      headrace train examples/flights -o build/x --events e.csv --labels l.csv --set learning_rate=0.001
    """
    from headrace.cli.commands.experiments import tracking_folder
    from headrace.replay.text import FileFormat
    from headrace.tracking.store import address
    from headrace.training.job import Report, TrainingJob

    if bool(source) + bool(events or labels) + bool(dataset) > 1:
        raise ConfigError("--source, files and --dataset exclude each other")
    sets = exact_sets(dataset, run_dir)
    uri = address(track, tracking_folder(load(ServiceSettings, "headrace"))) if track else ""
    job = TrainingJob(
        pipeline=str(folder.resolve()), folder=str(output.resolve()), model=model,
        data="datasets" if sets else "source" if source else "files" if events or labels else "topic", datasets=sets,
        events=str(events.resolve()) if events else "", labels=str(labels.resolve()) if labels else "",
        time_field=time_field, form=FileFormat.of(delimiter, encoding), options=option or [],
        start=from_, end=to, limit=limit, epochs=epochs, validation=validation, test=test, patience=patience,
        settings=dict(map(_setting, set_ or [])), hand_over=hand_over, track=uri,
    )  # fmt: skip
    offline = job.data != "topic" and not hand_over
    settings = storage(run_dir) if offline else connect_to_stores(run_dir, kafka)
    view = TrainingView(Console(stderr=True, highlight=False))
    summary = run_process(MODULE, written(job, job.path), settings, view.heard, LATER)
    report = msgspec.convert(summary, Report, strict=False)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        show_report(report, table_console())


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigError(f"--set {text}: expected name=value")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: {error}") from None
