"""Running the checks: of one model, or of a whole pipeline folder.

`CHECKS` are the promises that the services rely on, in order. Each takes the `PipelineCheck` and returns a few words of
what it found, or raises: a `Broken` of ours, or whatever the author's code raised, whose file and line the report then
names. Later checks need what earlier ones found, so the first failure ends them.
"""

import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from headrace.model.checks.network import check_features, check_forward_pass, check_network, check_predictions
from headrace.model.checks.pipeline_check import Broken, Outcome, PipelineCheck
from headrace.model.checks.records import check_json, check_records, check_sample
from headrace.model.checks.training import check_errors, check_learning, check_weights
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.model.source import Item
from headrace.model.spec_file import load_spec
from headrace.runtime.errors import HeadraceError, PipelineError

Check = tuple[str, Callable[[PipelineCheck], str]]
CHECKS: tuple[Check, ...] = (
    ("sample events", check_sample),
    ("records", check_records),
    ("JSON round trip", check_json),
    ("features", check_features),
    ("network", check_network),
    ("forward pass", check_forward_pass),
    ("predictions", check_predictions),
    ("error and baselines", check_errors),
    ("loss and training", check_learning),
    ("weights", check_weights),
)

Records = Callable[[Pipeline], Iterable[Item] | None]
"""The records to check a pipeline's models on, afresh for each; None takes the pipeline's own source."""


def check_folder(folder: Path, records: Records = lambda _: None) -> Iterator[Outcome]:
    """Check a pipeline folder: its files, its model, and each further model, which is one outcome.

    Raises:
        ConfigError: the records cannot be had.
    """
    try:
        spec = load_spec(folder)
        yield Outcome("pipeline.yaml", ok=True, detail=f"name {spec.name}, {spec.topics.partitions} partitions")
        pipeline = load_pipeline(folder)
    except PipelineError as error:
        yield Outcome("pipeline", ok=False, detail=str(error))
        return
    model = pipeline.model
    event, label = model.event_type().__name__, model.label_type().__name__
    yield Outcome("model", ok=True, detail=f"{type(model).__name__}: {event} -> {label}, by {model.key}")
    for outcome in run_checks(PipelineCheck(pipeline, records(pipeline))):
        yield outcome
        if not outcome.ok:
            return
    for other in pipeline.others:
        yield _summed_up(other, list(run_checks(PipelineCheck(other, records(pipeline)))))


def run_checks(check: PipelineCheck, checks: Iterable[Check] = CHECKS) -> Iterator[Outcome]:
    """Outcomes, one after the other, until the first failure."""
    for title, run in checks:
        try:
            yield Outcome(title, ok=True, detail=run(check))
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything, and that is what is reported
            yield Outcome(title, ok=False, detail=_explain(error, check.pipeline.folder))
            return


def _summed_up(other: Pipeline, outcomes: list[Outcome]) -> Outcome:
    """A further model's checks as one: what is wrong with it, else that it passes the same ones."""
    for outcome in outcomes:
        if not outcome.ok:
            return Outcome(other.model_name, ok=False, detail=f"{outcome.title}: {outcome.detail}")
    role = f"{other.variant.role}, " if other.variant else ""
    detail = f"{role}{type(other.model).__name__}: the same {len(outcomes)} checks"
    return Outcome(other.model_name, ok=True, detail=detail)


def _explain(error: Exception, folder: Path) -> str:
    """What is wrong, with the deepest line of the author's own files."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f"{f.filename}:{f.lineno}: " for f in frames if Path(f.filename).is_relative_to(folder)]
    if isinstance(error, Broken | HeadraceError):
        return str(error)
    return f"{own[-1] if own else ''}{type(error).__name__}: {error}"
