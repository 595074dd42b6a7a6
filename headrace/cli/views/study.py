"""What a study of hyperparameters found."""

import yaml
from rich.console import Console
from rich.table import Column, Table

from headrace.cli.views.formats import number
from headrace.training.study import StudyReport, nested

_SHOWN = 10


def show_study(report: StudyReport, console: Console) -> None:
    """The best trials beside the pipeline's own settings, and the best settings as YAML."""
    names = list(dict.fromkeys(name for trial in report.trials for name in trial.settings))
    unit = f", {report.unit}" if report.unit else ""
    heads = ("trial", f"validation error{unit}", "epochs", *names)
    table = Table(*(Column(head, no_wrap=True) for head in heads), box=None, pad_edge=False)
    complete = [trial for trial in report.trials if trial.state == "complete" and trial.error is not None]
    best = sorted(complete, key=lambda trial: (trial.error or 0.0, trial.number))[:_SHOWN]
    for trial in best if report.first in best else [*best, report.first]:
        values = [_shown(trial.settings.get(name)) for name in names]
        own = " (own settings)" if trial.number == report.first.number else ""
        table.add_row(f"{trial.number}{own}", number(trial.error), str(trial.epochs), *values)
    console.print(table)
    counts = {state: sum(trial.state == state for trial in report.trials) for state in ("pruned", "failed")}
    told = "".join(f", {count} {state}" for state, count in counts.items() if count)
    console.print(f"\n{len(report.trials)} trials{told}; plots: {', '.join(report.plots)}", soft_wrap=True)
    if report.test["first"] is not None:
        first, found = number(report.test["first"]), number(report.test["best"])
        console.print(f"error on the test part: {found} with the best settings, {first} with the pipeline's own")
    if report.version:
        console.print(f"trial {report.best.number} handed over as version {report.version} of {report.model}")
    if report.refused:
        console.print(f"trial {report.best.number} not handed over: gate {report.refused}", markup=False)
    if report.best.settings:
        console.print("\nThe best settings, for pipeline.yaml, or for a further model in `models`:\n")
        console.print(yaml.safe_dump({"training": nested(report.best.settings)}, sort_keys=False), markup=False)


def _shown(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
