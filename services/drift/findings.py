"""What detectors have found, as alerts: names, subjects and sentences."""

from headrace.alerts import definitions as names
from headrace.alerts.raising import Finding
from headrace.drift.changes import Moved
from headrace.drift.rates import Odd
from headrace.drift.windows import Change, What


def input_alert(what: What, kind: str) -> str:
    """The alert of a column of the events."""
    if what == "distribution":
        return names.FEATURE_DRIFT
    if what == "missing":
        return names.MISSING_VALUES
    return names.UNSEEN_CATEGORY if kind == "category" else names.OUT_OF_RANGE


def subject(column: str, what: What) -> str:
    """What an alert of a prediction's column is about."""
    return column if what == "distribution" else f"{column}.{what}"


def of_input(pipeline: str, change: Change, kind: str) -> Finding:
    """A column of the events."""
    return Finding(
        pipeline, input_alert(change.what, kind), change.firing, f"{change.column}: {_text(change, kind)}",
        subject=change.column, value=change.value, threshold=change.limit,
    )  # fmt: skip


def of_prediction(model: str, change: Change) -> Finding:
    """A column of a model's predictions."""
    return Finding(
        model, names.PREDICTION_DRIFT, change.firing, f"{change.column}: {_text(change, 'number')}",
        subject=subject(change.column, change.what), value=change.value, threshold=change.limit,
    )  # fmt: skip


def _text(change: Change, kind: str) -> str:
    if change.statistic == "a new reference":
        return "a new reference is being taken"
    if change.what == "distribution":
        return f"{change.statistic} events is {change.value:.3g}, the limit {change.limit:.3g}"
    which = {"missing": "missing", "outside": "unseen categories" if kind == "category" else "out of range"}
    return f"{change.value:.1%} of the last events are {which[change.what]}, the limit is {change.limit:.1%}"


def of_mean(model: str, what: str, moved: Moved, unit: str) -> Finding:
    """The mean error ("error") or the mean prediction ("mean") of a model."""
    name, about = (names.ERROR_DRIFT, "") if what == "error" else (names.PREDICTION_DRIFT, "mean")
    unit = f" {unit}" if unit and what == "error" else ""
    label = "mean error" if what == "error" else "mean prediction"
    text = f"the {label} of the last 500 is {moved.mean:.3g}{unit}, usual is {moved.usual:.3g}{unit}"
    return Finding(model, name, moved.firing, text, subject=about, value=moved.mean, threshold=moved.limit)


def of_volume(pipeline: str, odd: Odd, seconds: float) -> Finding:
    """Too many or too few events."""
    much = "more" if odd.value > odd.usual else "fewer"
    text = f"{odd.value / seconds:,.3g} events/s, {much} than the usual {odd.usual / seconds:,.3g}"
    if not odd.firing:
        text = f"{odd.value / seconds:,.3g} events/s are usual again"
    return Finding(
        pipeline, names.VOLUME_ANOMALY, odd.firing, text, value=odd.value / seconds, threshold=odd.limit / seconds
    )


def of_latency(pipeline: str, odd: Odd) -> Finding:
    """Predictions that come late."""
    text = f"99 % of the predictions come within {odd.value:.3g} s, usual are {odd.usual:.3g} s"
    return Finding(pipeline, names.LATENCY_ANOMALY, odd.firing, text, value=odd.value, threshold=odd.limit)


def of_unreadable(pipeline: str, firing: bool, share: float, limit: float) -> Finding:  # noqa: FBT001 - a value
    """Events that cannot be decoded."""
    text = f"{share:.1%} of the last events cannot be decoded"
    return Finding(pipeline, names.UNREADABLE_EVENTS, firing, text, value=share, threshold=limit)
