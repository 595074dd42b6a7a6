"""`headrace check`: is this pipeline folder one that the services can run?"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headrace.runtime.errors import ExitCode, PipelineError
from headrace.runtime.secrets import clean

if TYPE_CHECKING:
    from headrace.model.checks import Outcome
    from headrace.model.pipeline import Pipeline


def check(
    folder: Annotated[Path, typer.Argument(help="the pipeline's folder")] = Path(),
    *,
    events: Annotated[Path | None, typer.Option(help="try it on this CSV or JSON-lines file of events ...")] = None,
    labels: Annotated[Path | None, typer.Option(help="... with this file of labels, not on its own source")] = None,
) -> None:
    """Validate a pipeline folder and try its model on sample events: everything but Kafka.

    Every promise that the services rely on is one line, all of a further model's another. The first that is broken ends
    the check, with file, line and field where there are some, and exit code 2.

    For example:

      headrace check my-pipeline
    """
    console = Console(highlight=False, soft_wrap=True)
    ok = True
    for title, good, detail in _lines(folder, events, labels):
        ok = ok and good
        console.print(f"[{'green' if good else 'bold red'}]{'✓' if good else '✗'}[/] {title:<20}", end=" ")
        console.print(clean(detail), markup=False)
    if not ok:
        raise typer.Exit(int(ExitCode.CONFIG))
    console.print(f"[green]{folder} is a pipeline that works.[/] Next: headrace up {folder} --replay")


def _lines(folder: Path, events: Path | None, labels: Path | None) -> Iterator[tuple[str, bool, str]]:
    from headrace.model.pipeline import load_pipeline, load_spec

    try:
        spec = load_spec(folder)
        yield "pipeline.yaml", True, f"name {spec.name}, {spec.topics.partitions} partitions"
        pipeline = load_pipeline(folder)
    except PipelineError as error:
        yield "pipeline", False, str(error)
        return
    model = pipeline.model
    types = (model.event_type(), model.label_type())
    yield "model", True, f"{type(model).__name__}: {types[0].__name__} -> {types[1].__name__}, by {model.key}"

    from headrace.model.checks import PipelineCheck, run_checks
    from headrace.replay.files import read_files

    records = read_files(events, labels, types, None) if events or labels else None
    for outcome in run_checks(PipelineCheck(pipeline, records)):
        yield outcome.title, outcome.ok, outcome.detail
        if not outcome.ok:
            return
    for other in pipeline.others:
        again = read_files(events, labels, types, None) if events or labels else None
        yield _of_other(other, list(run_checks(PipelineCheck(other, again))))


def _of_other(other: "Pipeline", outcomes: "list[Outcome]") -> tuple[str, bool, str]:
    """One line for a further model: what is wrong with it, else that it passes the same checks."""
    for outcome in outcomes:
        if not outcome.ok:
            return other.model_name, False, f"{outcome.title}: {outcome.detail}"
    role = f"{other.variant.role}, " if other.variant else ""
    return other.model_name, True, f"{role}{type(other.model).__name__}: the same {len(outcomes)} checks"
