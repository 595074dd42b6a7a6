"""What a run came to: counts, errors, latency; as JSON and for people."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.cli.views.board import best_baseline, duration, number, role_of
from headrace.contracts.snapshot import ModelStatus, Quantiles, Snapshot
from headrace.launch.observe import fetch
from headrace.launch.pipeline_run import PipelineRun
from headrace.launch.specs import RoleStatus

STREAM_LATENCY = "headrace_inference_stream_latency_seconds"
TRAINED = "headrace_trainer_examples"


class Summary(msgspec.Struct, frozen=True):
    """A run's end. Errors are in `error_unit`; latency and freshness in seconds; None where it is not known."""

    pipeline: str
    run_dir: str
    seconds: float
    drained: bool
    produced: int = 0
    labels: int = 0
    predicted: int = 0
    joined: int = 0
    trained: int | None = None
    dead_letters: int = 0
    duplicates: int = 0
    missing: int = 0
    checkpoints: int = 0
    swaps: int = 0
    version: int = 0
    restarts: int = 0
    first_prediction_s: float | None = None
    error_unit: str = ""
    error: dict[str, dict[str, float | None]] = {}
    beats_baselines: bool | None = None
    latency: Quantiles = Quantiles()
    freshness: Quantiles = Quantiles()
    urls: dict[str, str] = {}
    models: tuple[ModelStatus, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every event was predicted, once."""
        return self.drained and self.predicted > 0 and not self.duplicates and not self.missing


def summarize(
    run: PipelineRun, snapshot: Snapshot | None, *, seconds: float, drained: bool, first: float | None
) -> Summary:
    """The summary of a run whose processes are still there."""
    roles = run.statuses()
    base = Summary(
        pipeline=run.spec.name,
        run_dir=str(run.run_dir),
        seconds=round(seconds, 1),
        drained=drained,
        first_prediction_s=first,
        restarts=sum(role.restarts for role in roles),
        trained=_counter(metrics_of(roles, "trainer"), TRAINED, model=run.spec.name),
        latency=histogram_quantiles(metrics_of(roles, "stream"), STREAM_LATENCY),
        urls=_urls(roles),
    )
    return base if snapshot is None else _with(base, snapshot)


def _with(base: Summary, snapshot: Snapshot) -> Summary:
    counts, versions = snapshot.counts, snapshot.versions
    best = best_baseline(snapshot)
    ours = snapshot.model.window
    error = {"model": snapshot.model, **snapshot.baselines}
    return msgspec.structs.replace(
        base,
        produced=counts.events,
        labels=counts.labels,
        predicted=counts.predictions,
        joined=counts.joined,
        trained=max(base.trained or 0, versions.examples),  # a restarted trainer counts anew, its checkpoints do not
        dead_letters=counts.dead_letters,
        duplicates=counts.duplicates,
        missing=counts.missing,
        checkpoints=versions.checkpoints,
        swaps=versions.swaps,
        version=max(versions.serving, default=versions.active),
        error_unit=snapshot.error_unit,
        error={name: {"window": score.window, "mean": score.mean} for name, score in error.items()},
        beats_baselines=None if best is None or ours is None else ours < (snapshot.baselines[best].window or 0.0),
        latency=base.latency if base.latency.count else snapshot.latency,
        freshness=snapshot.freshness,
        models=snapshot.models,
    )


def metrics_of(roles: Iterable[RoleStatus], role: str) -> str:
    """The Prometheus text of all instances of a role, one after the other."""
    addresses = [r.endpoints["ops"] for r in roles if r.role == role and "ops" in r.endpoints]
    return "\n".join((fetch(f"{address}/metrics") or b"").decode() for address in addresses)


def _counter(text: str, name: str, **labels: str) -> int | None:
    samples = (
        s for family in text_string_to_metric_families(text) for s in family.samples if s.name == f"{name}_total"
    )
    values = [s.value for s in samples if labels.items() <= s.labels.items()]
    return int(sum(values)) if values else None


def histogram_quantiles(text: str, name: str) -> Quantiles:
    """The median and the 99th percentile of a histogram, interpolated within its buckets as Prometheus does."""
    buckets: dict[float, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == f"{name}_bucket":
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    if not total:
        return Quantiles()
    return Quantiles(int(total), _quantile(bounds, buckets, 0.5 * total), _quantile(bounds, buckets, 0.99 * total))


def _quantile(bounds: list[float], buckets: dict[float, float], rank: float) -> float:
    low, below = 0.0, 0.0
    for bound in bounds:
        if buckets[bound] >= rank:
            if bound == float("inf"):
                return low
            return low + (bound - low) * (rank - below) / (buckets[bound] - below)
        low, below = bound, buckets[bound]
    return low


def _urls(roles: Iterable[RoleStatus]) -> dict[str, str]:
    return {f"{r.instance}.{name}": address for r in roles for name, address in sorted(r.endpoints.items())}


def write(summary: Summary, file: Path) -> None:
    """The summary as JSON."""
    body = {**msgspec.to_builtins(summary), "ok": summary.ok}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n")


def show(summary: Summary, console: Console) -> None:
    """The summary for people."""
    console.print()
    console.rule(f"[bold]{summary.pipeline}[/] after {summary.seconds:.0f} s", style="dim", align="left")
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="bold")
    table.add_column()
    for value, what in _rows(summary):
        table.add_row(value, what)
    console.print(table)
    console.print(_errors(summary))
    console.print(Text(f"logs, topics and checkpoints: {summary.run_dir}", "dim"), soft_wrap=True)


def _rows(s: Summary) -> Iterable[tuple[str, Text | str]]:
    yield f"{s.produced:,}", f"events produced, and {s.labels:,} labels"
    sink = (
        "each once"
        if s.ok
        else f"{s.duplicates:,} twice, {s.missing:,} missing" + ("" if s.drained else ", not drained")
    )
    first = f"; the first after {s.first_prediction_s:.1f} s" if s.first_prediction_s is not None else ""
    yield f"{s.predicted:,}", Text.assemble("predicted, ", (sink, "green" if s.ok else "bold red"), first)
    if s.dead_letters:
        yield f"{s.dead_letters:,}", "went to the dead letters"
    yield f"{s.joined:,}", "predictions met their label"
    if s.trained is not None:
        yield f"{s.trained:,}", "examples trained on"
    yield f"{s.checkpoints:,}", f"checkpoints, {s.swaps:,} swaps while predicting; version {s.version} at the end"
    if s.latency.p50 is not None and s.latency.p99 is not None:
        yield duration(s.latency.p50), f"from event to committed prediction, p50; p99 {duration(s.latency.p99)}"
    if s.freshness.p50 is not None and s.freshness.p99 is not None:
        yield (
            duration(s.freshness.p50),
            f"from a label to predictions that learned from it, p50; p99 {duration(s.freshness.p99)}",
        )
    if s.restarts:
        yield f"{s.restarts:,}", "restarts of roles that had died"


def _errors(s: Summary) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 3, 0, 0))
    table.add_column(f"mean error{', ' + s.error_unit if s.error_unit else ''}")
    table.add_column("at the end", justify="right")
    table.add_column("whole run", justify="right")
    served = "as served" if s.models else "the model"
    for name, score in s.error.items():
        style = ("bold green" if s.beats_baselines else "bold yellow") if name == "model" else None
        table.add_row(served if name == "model" else name, number(score["window"]), number(score["mean"]), style=style)
    for one in s.models:
        table.add_row(f"{one.model}, {role_of(one)}", number(one.score.window), number(one.score.mean))
    return table
