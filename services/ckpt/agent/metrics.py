"""What the agent measures."""

from prometheus_client import Counter, Gauge, Histogram

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import ACTIVE, STAGED
from headrace.runtime.metrics import LATENCY_BUCKETS
from headrace.weights.host.transfer import Pulled
from services.ckpt.agent.service import HostAgent

WORKERS = Gauge("headrace_ckpt_workers", "Workers connected to this host's agent.", ["model"])
SHARED_MEMORY = Gauge("headrace_ckpt_shared_memory_bytes", "Shared memory that the agent's slots hold.", ["model"])
PULLED = Counter("headrace_ckpt_pulled_bytes", "Bytes of chunks pulled from the stores.", ["model"])
FROM_PEERS = Counter("headrace_ckpt_from_peers_bytes", "Bytes of chunks taken from other agents.", ["model"])
TO_PEERS = Counter("headrace_ckpt_to_peers_bytes", "Bytes of chunks served to other agents.", ["model"])
PEER_FAILURES = Counter("headrace_ckpt_peer_failures", "Agents given up during a pull.", ["model", "reason"])
REUSED = Counter(
    "headrace_ckpt_reused_bytes", "Bytes of chunks that the host had, in place or in another slot.", ["model"]
)
PULL = Histogram("headrace_ckpt_pull_seconds", "Pulling and verifying one version.", ["model"], buckets=LATENCY_BUCKETS)
PULL_FAILURES = Counter("headrace_ckpt_pull_failures", "Versions that could not be pulled.", ["model"])
ANNOUNCE = Histogram(
    "headrace_ckpt_announce_seconds",
    "From a directive's issue to its arrival here.",
    ["model"],
    buckets=LATENCY_BUCKETS,
)
STAGE = Histogram(
    "headrace_ckpt_stage_seconds", "A worker's mapping, checking and warming up.", ["model"], buckets=LATENCY_BUCKETS
)
ACTIVATE = Histogram("headrace_ckpt_activate_seconds", "A worker's flip.", ["model"], buckets=LATENCY_BUCKETS)
FENCED = Gauge(
    "headrace_ckpt_fenced_workers", "Workers here that are not ready: they serve what they are not to.", ["model"]
)
REPORTS = Counter("headrace_ckpt_reports", "Reports on headrace.applied.", ["model", "state"])


def observe_pull(model: str, pulled: Pulled) -> None:
    """Count a version that was pulled and verified."""
    PULL.labels(model).observe(pulled.seconds)
    PULLED.labels(model).inc(pulled.bytes_pulled - pulled.bytes_from_peers)
    FROM_PEERS.labels(model).inc(pulled.bytes_from_peers)
    REUSED.labels(model).inc(pulled.bytes_reused)


def observe_report(applied: WeightsApplied) -> None:
    """Count a report, and how long what it reports took."""
    REPORTS.labels(applied.model, WeightsApplied.State.Name(applied.state)).inc()
    if applied.state == STAGED and "stage" in applied.seconds:
        STAGE.labels(applied.model).observe(applied.seconds["stage"])
    if applied.state == ACTIVE and "activate" in applied.seconds:
        ACTIVATE.labels(applied.model).observe(applied.seconds["activate"])


def count_workers(logic: HostAgent) -> None:
    """Count each model's workers here, and those that are not ready."""
    for model in logic.models:
        workers = [worker for worker in logic.workers.values() if worker.hello.model == model]
        WORKERS.labels(model).set(len(workers))
        FENCED.labels(model).set(sum(bool(worker.required) for worker in workers))
