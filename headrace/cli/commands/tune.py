"""`headrace tune`: a study of hyperparameters over a bounded set of examples."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from headrace.cli.connect import KafkaOption, RunOption, connect_to_stores, exact_sets, storage
from headrace.cli.files import DatasetOption
from headrace.cli.jobs import run_process, written
from headrace.cli.views.formats import number, table_console
from headrace.cli.views.study import show_study
from headrace.runtime.errors import ConfigError

MODULE = "services.trainer.offline.study"
LATER = "the same command goes on with the study"


def tune(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder", metavar="PIPELINE")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="folder of the study: trials, report, plots")],
    space: Annotated[
        list[str],
        typer.Option("--space", help="of `training` in pipeline.yaml: name=low..high, name=low..high:log, name=a,b,c"),
    ],
    trials: Annotated[int, typer.Option(min=1, help="how many, those of earlier runs of the study included")] = 20,
    workers: Annotated[int, typer.Option(min=1, help="trials at once, each with the examples in its memory")] = 1,
    no_prune: Annotated[bool, typer.Option("--no-prune", help="let trials end that are worse than others")] = False,
    seed: Annotated[int, typer.Option(min=0, help="of the search")] = 0,
    from_: Annotated[str, typer.Option("--from", help="where the examples topic's range begins")] = "earliest",
    to: Annotated[str, typer.Option("--to", help="where it ends, not included")] = "latest",
    source: Annotated[bool, typer.Option("--source", help="use the pipeline's own source instead")] = False,
    dataset: DatasetOption = None,
    option: Annotated[list[str] | None, typer.Option(help="of the source, name=value; repeatable")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="the first so many examples of the source")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="passes of each trial")] = 3,
    validation: Annotated[float, typer.Option(help="share of the examples that chooses the best")] = 0.2,
    test: Annotated[float, typer.Option(help="share at the end, for the report alone")] = 0.1,
    model: Annotated[str, typer.Option(help="a further model of the pipeline (default: its champion)")] = "",
    kafka: KafkaOption = None,
    run_dir: RunOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="print the report for programs")] = False,
) -> None:
    r"""Search for better settings of `training`, by Optuna, over a range of the examples or what the source replays.

    Each trial trains anew, as `headrace train` does, and the validation part chooses. The first has the pipeline's own
    settings, so that the report says what the search gained, on a test part by which nothing was chosen.

    The best settings are printed as a section of pipeline.yaml: for the pipeline itself, or for a further model that
    shadows the champion on the stream.

    For example:

      headrace tune examples/rides -o build/tune --source --limit 50000 --space learning_rate=0.0005..0.05:log \
          --space batch_size=32,64,128,256 --trials 30 --workers 2
    """
    from headrace.training.job import TrainingJob
    from headrace.training.study import Axis, StudyJob, StudyReport

    if source and dataset:
        raise ConfigError("--source and --dataset exclude each other")
    sets = exact_sets(dataset, run_dir)
    job = StudyJob(
        training=TrainingJob(
            pipeline=str(folder.resolve()), folder=str(output.resolve()), model=model,
            data="datasets" if sets else "source" if source else "topic", datasets=sets,
            options=option or [], start=from_, end=to, limit=limit,
            epochs=epochs, validation=validation, test=test,
        ),
        space=tuple(map(Axis.of, space)), trials=trials, workers=workers, prune=not no_prune, seed=seed,
    )  # fmt: skip
    names = [axis.name for axis in job.space]
    if len(set(names)) < len(names):
        raise ConfigError("--space: a setting is named twice")
    settings = storage(run_dir) if source or sets else connect_to_stores(run_dir, kafka)
    console = Console(stderr=True, highlight=False)

    def heard(line: Mapping[str, Any]) -> None:
        if "trials" in line:
            best = f", best validation error {number(line['best'])}" if line["best"] is not None else ""
            console.print(f"{line['trials']} of {line['of']} trials{best}", markup=False)

    # How many trials and workers may differ when a study goes on: they are not what it is about.
    same = msgspec.structs.replace(job, trials=1, workers=1)
    written(same, job.training.path)
    path = job.training.path / "study-job.json"
    path.write_bytes(msgspec.json.encode(job))
    summary = run_process(MODULE, path, settings, heard, LATER)
    report = msgspec.convert(summary, StudyReport, strict=False)
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(report), indent=2).decode())
    else:
        show_study(report, table_console())
