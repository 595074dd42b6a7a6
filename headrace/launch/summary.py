"""What a run came to: counts, errors and latency, and whether every event was predicted once."""

from collections.abc import Iterable
from pathlib import Path

import msgspec
from prometheus_client.parser import text_string_to_metric_families

from headrace.contracts.snapshot import Metrics, ModelStatus, Quantiles, Snapshot
from headrace.launch.pipeline_run import PipelineRun
from headrace.launch.specs import RoleStatus
from headrace.runtime.http import fetch

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
    task: str = "regression"
    error_name: str = "mean error"
    error_unit: str = ""
    error: dict[str, dict[str, float | None]] = {}
    metrics: dict[str, Metrics] = {}
    """The task's, of the model and of each baseline."""
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
    best = snapshot.best_baseline
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
        task=snapshot.task,
        error_name=snapshot.error_name,
        error_unit=snapshot.error_unit,
        error={name: {"window": score.window, "mean": score.mean} for name, score in error.items()},
        metrics=snapshot.metrics,
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
