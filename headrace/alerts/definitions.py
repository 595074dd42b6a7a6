"""Every alert as data: its name, severity, meaning and what to do. docs/alerts.md says the same, which a test compares.

An alert of the roles `monitor` or `drift` is a record on headrace.alerts and a rule for Prometheus. One of the source
`prometheus` is a rule alone: it follows from metrics of single processes.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["INFO", "WARNING", "CRITICAL"]
Source = Literal["monitor", "drift", "prometheus"]
SEVERITIES: tuple[Severity, ...] = ("INFO", "WARNING", "CRITICAL")

ERROR_ABOVE_BASELINE = "error_above_baseline"
WORKER_FAILED = "worker_failed"
VERSION_WORSE = "version_worse"
VERSION_FAILS = "version_fails"
FEATURE_DRIFT = "feature_drift"
PREDICTION_DRIFT = "prediction_drift"
ERROR_DRIFT = "error_drift"
MISSING_VALUES = "missing_values"
OUT_OF_RANGE = "out_of_range"
UNSEEN_CATEGORY = "unseen_category"
UNREADABLE_EVENTS = "unreadable_events"
VOLUME_ANOMALY = "volume_anomaly"
LATENCY_ANOMALY = "latency_anomaly"


@dataclass(frozen=True)
class Definition:
    """One alert.

    `subject` says what each one is about, which is the last part of its id; "" if a model has one only. `expression` is
    PromQL; the alert is on in Prometheus once it has held for `for_s` seconds.
    """

    name: str
    severity: Severity
    source: Source
    summary: str
    meaning: str
    to_do: str
    expression: str
    subject: str = ""
    for_s: int = 0


def _of_monitor(name: str) -> str:
    return f'max by (pipeline) (headrace_monitor_alerts_firing{{name="{name}"}}) > 0'


def _of_drift(name: str) -> str:
    return f'max by (pipeline, model, subject) (headrace_drift_alerts_firing{{name="{name}", silenced="no"}}) > 0'


DEFINITIONS = (
    Definition(
        ERROR_ABOVE_BASELINE, "WARNING", "monitor",
        "The model's error is above the best baseline's.",
        "Over the last `monitor.window` labelled predictions the model was worse than the best baseline on the same "
        "events, and has been for a whole window. The first window does not count.",
        "Look for `feature_drift` and `error_drift` first: after a change of the stream the model needs some time to "
        "learn. If it lasts, the trainer may be behind (`headrace status`) or its learning rate too low.",
        _of_monitor(ERROR_ABOVE_BASELINE),
    ),
    Definition(
        WORKER_FAILED, "WARNING", "monitor",
        "A worker could not stage or serve a version.",
        "The worker goes on with the version before. The message names the worker, its host and the error.",
        "`headrace ckpt status` shows the worker. Memory that has run out and a missing chunk are the usual causes.",
        _of_monitor(WORKER_FAILED), subject="worker",
    ),
    Definition(
        VERSION_WORSE, "CRITICAL", "monitor",
        "A version's error is far above that of other versions.",
        "Beside other versions at the same time its error is `monitor.worse_beside` times theirs, or, alone, "
        "`monitor.worse_before` times that of those before it.",
        "The coordinator rolls the version back by itself. `headrace lineage MODEL VERSION` says what it was trained "
        "on; `headrace resume` lets newer versions serve again.",
        _of_monitor(VERSION_WORSE), subject="version",
    ),
    Definition(
        VERSION_FAILS, "CRITICAL", "monitor",
        "A version cannot predict a large share of the events.",
        "A tenth of the events or more become dead letters with this version, and did not with the version before.",
        "The coordinator rolls the version back by itself. `headrace dlq list` says why the events failed, "
        "`headrace dlq replay` puts them back.",
        _of_monitor(VERSION_FAILS), subject="version",
    ),
    Definition(
        FEATURE_DRIFT, "WARNING", "drift",
        "The values of a field of the events are distributed otherwise than those of the reference.",
        "PSI or the Kolmogorov-Smirnov distance of the last events from the reference is above its limit, which is "
        "the effect that `drift:` sets, or more where the reference itself varies more.",
        "`headrace drift show` has the figures, and the distribution then and now. Is a producer broken, or has the "
        "world changed? If this is what is usual now, `headrace drift reset --column NAME` takes a new reference.",
        _of_drift(FEATURE_DRIFT), subject="column",
    ),
    Definition(
        PREDICTION_DRIFT, "WARNING", "drift",
        "A model's predictions are distributed otherwise than those of the reference, or their mean has moved.",
        "As `feature_drift`, of what a model predicts; the subject `mean` is ADWIN's: the mean prediction has moved by "
        "`drift.score` standard deviations or more.",
        "If inputs have drifted too, they are the cause. Else compare versions: `headrace ckpt history`.",
        _of_drift(PREDICTION_DRIFT), subject="column",
    ),
    Definition(
        ERROR_DRIFT, "WARNING", "drift",
        "A model's error has risen.",
        "ADWIN has found a change, and the mean error of the last 500 labelled predictions is `drift.error_ratio` "
        "times the usual one or more.",
        "What the events mean has changed, even where the events look the same. An online model learns it again; "
        "`headrace status` shows whether its error falls. A frozen one has to be trained anew.",
        _of_drift(ERROR_DRIFT),
    ),
    Definition(
        MISSING_VALUES, "WARNING", "drift",
        "A field is null in more events than in the reference.",
        "The share of nulls among the last events is above the reference's by `drift.rate` or more.",
        "Ask whoever produces the events. The message has the share and the limit.",
        _of_drift(MISSING_VALUES), subject="column",
    ),
    Definition(
        OUT_OF_RANGE, "WARNING", "drift",
        "Numbers of a field are below the least or above the largest of the reference.",
        "The share of such values among the last events is `drift.rate` or more.",
        "A changed unit and a broken sensor look like this. If the range is wider now, "
        "`headrace drift reset --column NAME`.",
        _of_drift(OUT_OF_RANGE), subject="column",
    ),
    Definition(
        UNSEEN_CATEGORY, "WARNING", "drift",
        "A field has categories that the reference does not have.",
        "The share of such values among the last events is above what the reference lets expect by `drift.rate` or "
        "more.",
        "A renamed or a new category: the model has not learned it. Then `headrace drift reset --column NAME`.",
        _of_drift(UNSEEN_CATEGORY), subject="column",
    ),
    Definition(
        UNREADABLE_EVENTS, "WARNING", "drift",
        "Events cannot be decoded.",
        "A hundredth or more of the last 1,000 events do not have the pipeline's struct.",
        "They are dead letters: `headrace dlq list` shows the reason, topic, partition and offset of each.",
        _of_drift(UNREADABLE_EVENTS),
    ),
    Definition(
        VOLUME_ANOMALY, "WARNING", "drift",
        "Far more or far fewer events come than usual.",
        "Three intervals in a row were above or below the median of the last 60 by the factor `drift.volume`, and by "
        "six times their usual variation.",
        "Fewer: is a producer or ingest down (`headrace status`)? More: watch the stream role's lag.",
        _of_drift(VOLUME_ANOMALY),
    ),
    Definition(
        LATENCY_ANOMALY, "WARNING", "drift",
        "Predictions come far later than usual.",
        "In three intervals in a row the 99th percentile of the time from an event to its prediction was above the "
        "median of the last 60 by the factor `drift.latency`, by six times its usual variation, and above "
        "`drift.latency_floor_s`.",
        "`headrace status` shows the lag: a stream role that is too slow, or was away. Add workers, or look for a slow "
        "broker.",
        _of_drift(LATENCY_ANOMALY),
    ),
    Definition(
        "role_not_ready", "WARNING", "prometheus",
        "A process of Headrace cannot do its work.",
        "It says on /readyz which of its conditions do not hold.",
        "`curl http://HOST:OPS_PORT/readyz`, then its log.",
        "headrace_ready == 0", for_s=60,
    ),
    Definition(
        "events_missing", "CRITICAL", "prometheus",
        "Events were passed over: later ones of their partition have a prediction, these have none.",
        "Exactly once is broken, or the events have left the topic before the stream role read them.",
        "Compare the topic's retention with the stream role's lag. Else it is a fault of Headrace.",
        "headrace_monitor_missing > 0", for_s=120,
    ),
    Definition(
        "duplicate_predictions", "WARNING", "prometheus",
        "Events have more than one prediction.",
        "Never with `stream.guarantee: exactly_once`; with `at_least_once` after a restart.",
        "Readers of the sink must skip the second one of a `source`.",
        "increase(headrace_monitor_duplicates_total[10m]) > 0",
    ),
    Definition(
        "stream_lag", "WARNING", "prometheus",
        "The stream role falls behind.",
        "It has had more events to read for ten minutes than it had ten minutes before, and 10,000 at least.",
        "Start more stream roles, up to one a partition.",
        "sum by (pipeline) (headrace_inference_stream_lag_records) > 10000 and "
        "deriv(sum by (pipeline) (headrace_inference_stream_lag_records)[10m:1m]) > 0",
        for_s=600,
    ),
    Definition(
        "join_lag", "WARNING", "prometheus",
        "The join falls behind.",
        "Labels become examples late, so the model learns late.",
        "Start more join roles, up to one a partition.",
        'headrace_monitor_lag_records{role="join"} > 100000', for_s=600,
    ),
    Definition(
        "dead_letters", "WARNING", "prometheus",
        "More than a hundredth of the events become dead letters.",
        "They could not be decoded or predicted.",
        "`headrace dlq list` says why.",
        'sum by (pipeline) (rate(headrace_monitor_records_total{kind="dead_letters"}[5m])) > '
        '0.01 * sum by (pipeline) (rate(headrace_monitor_records_total{kind="events"}[5m]))',
        for_s=300,
    ),
    Definition(
        "drift_behind", "INFO", "prometheus",
        "The drift role falls behind: its alerts come late.",
        "It has more than a million records to read.",
        "Give it a core, or watch fewer fields: `drift.ignore`.",
        "headrace_drift_lag_records > 1000000", for_s=600,
    ),
    Definition(
        "webhook_failing", "WARNING", "prometheus",
        "Alerts could not be delivered to a webhook.",
        "It did not answer with a 2xx within `retry_s`, and the alerts were given up.",
        "The drift role's log names the webhook and the answer.",
        'increase(headrace_drift_webhook_alerts_total{outcome="given_up"}[15m]) > 0',
    ),
)  # fmt: skip
NAMES = tuple(definition.name for definition in DEFINITIONS)


def definition(name: str) -> Definition:
    """The alert of that name.

    Raises:
        KeyError: there is none.
    """
    for one in DEFINITIONS:
        if one.name == name:
            return one
    raise KeyError(name)
