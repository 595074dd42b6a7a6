"""One moment of a run on one line, for logs and for terminals that are not watched."""

from headrace.cli.views.board import PRODUCE
from headrace.cli.views.figures import canaries_of, headings, role_of, to_go
from headrace.cli.views.formats import clock, duration, metric, number
from headrace.launch.observe import View
from headrace.launch.specs import State


def plain(view: View) -> str:
    """One moment on one line, for logs."""
    services = [role for role in view.roles if role.role != PRODUCE]
    up = sum(role.state is State.READY for role in services)
    start = f"{clock(view.elapsed_s)} {view.phase:<9} ready {up}/{len(services)}"
    if (restarts := sum(role.restarts for role in view.roles)) > 0:
        start += f" restarts {restarts}"
    s = view.snapshot
    if s is None:
        return start
    parts = [
        start,
        f"events {s.counts.events:,} ({s.rates.events:,.0f}/s)",
        f"predicted {s.counts.predictions:,} (lag {s.counts.unpredicted:,})",
        f"joined {s.counts.joined:,}",
        f"version {'/'.join(map(str, s.versions.serving)) or '-'} (newest {s.versions.newest})",
    ]
    parts += [
        f"canary {canary.version}{model} on {len(canary.workers)}/{workers}, {to_go(canary, s)}"
        for model, canary, workers in canaries_of(s)
    ]
    if s.model.window is not None:
        others = ", ".join(f"{name} {number(score.window)}" for name, score in s.baselines.items())
        what = "error" if s.error_name == "mean error" else s.error_name
        parts.append(f"{what} {number(s.model.window)}{' vs ' + others if others else ''} {s.error_unit}".rstrip())
    if s.metrics and (names := headings(s.task, [s.metrics["model"].window])):
        own = s.metrics["model"].window
        parts.append(", ".join(f"{name.replace('_', ' ')} {metric(own[name])}" for name in names))
    if s.models:
        parts.append(", ".join(f"{one.model} ({role_of(one)}) {number(one.score.window)}" for one in s.models))
    if s.freshness.p50 is not None:
        parts.append(f"fresh {duration(s.freshness.p50)}")
    if s.counts.duplicates or s.counts.missing:
        parts.append(f"DUPLICATES {s.counts.duplicates:,} MISSING {s.counts.missing:,}")
    return " | ".join(parts)
