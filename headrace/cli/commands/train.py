"""`headrace train`: epochs over a bounded set of examples, and a report."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores
from headrace.cli.files import DelimiterOption, EncodingOption
from headrace.cli.views.training import TrainingView, show_report
from headrace.runtime.errors import ConfigError, HeadraceError
from headrace.runtime.settings import ServiceSettings, load

INTERRUPTED = 130
MODULE = "services.trainer.offline"


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

      headrace train examples/flights -o build/x --events e.csv --labels l.csv --set learning_rate=0.001
    """
    from headrace.replay.text import FileFormat
    from headrace.training.job import Report, TrainingJob

    if source and (events or labels):
        raise ConfigError("--source and files exclude each other")
    job = TrainingJob(
        pipeline=str(folder.resolve()), folder=str(output.resolve()), model=model,
        data="source" if source else "files" if events or labels else "topic",
        events=str(events.resolve()) if events else "", labels=str(labels.resolve()) if labels else "",
        time_field=time_field, form=FileFormat.of(delimiter, encoding), options=option or [],
        start=from_, end=to, limit=limit, epochs=epochs, validation=validation, test=test, patience=patience,
        settings=dict(map(_setting, set_ or [])), hand_over=hand_over,
    )  # fmt: skip
    offline = job.data != "topic" and not hand_over
    settings = load(ServiceSettings, "headrace") if offline else connect_to_stores(run_dir, kafka)
    summary = asyncio.run(_run(_written(job), settings, TrainingView(Console(stderr=True, highlight=False))))
    report = msgspec.convert(summary, Report, strict=False)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        show_report(report, Console(highlight=False))


def _setting(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ConfigError(f"--set {text}: expected name=value")
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: {error}") from None


def _written(job: Any) -> Path:
    """The job's file in its folder; another job's results are not written over.

    Raises:
        ConfigError: the folder is another job's, or cannot be written.
    """
    path, data = Path(job.folder) / "job.json", msgspec.json.encode(job)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != data:
            raise ConfigError(f"{path.parent}: holds another job", hint="choose another --output, or remove it")
        path.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="--output FOLDER") from error
    return path


async def _run(job_file: Path, settings: ServiceSettings, view: TrainingView) -> dict[str, Any]:
    """Run the job's process; returns its summary.

    Raises:
        HeadraceError: what the process says went wrong.
        typer.Exit: it was stopped, or died.
    """
    from headrace.jobs.process import JobProcess, environment

    process, said = JobProcess(MODULE, job_file, environment(settings)), dict[str, Any]()

    def heard(line: Any) -> None:
        said.update({name: line[name] for name in ("summary", "error") if name in line})
        view.heard(line)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, process.stop)
    code = await process.run(heard)
    if "summary" in said:
        return dict(said["summary"])
    if "error" in said:
        failed = HeadraceError(said["error"])
        failed.exit_code = code  # type: ignore[assignment]
        raise failed
    if code == INTERRUPTED:
        typer.echo("stopped: the same command goes on after the last finished epoch", err=True)
    raise typer.Exit(code if code > 0 else 1)
