"""Metrics of the role `join`. Labels: the pipeline, and the stream ("events" or "labels") where it matters."""

from prometheus_client import Counter, Gauge

JOINED = Counter("headrace_join_joined_examples", "Events that got their label, once each.", ["pipeline"])
DUPLICATES = Counter("headrace_join_duplicate_records", "Events and labels whose key was there already.", ["pipeline"])
DEFAULTS = Counter(
    "headrace_join_default_examples",
    "Events whose window closed without a label, where they get the default one.",
    ["pipeline"],
)
CORRECTED = Counter(
    "headrace_join_corrected_examples", "Labels that differ from the one before for their event.", ["pipeline"]
)
SAMPLED_OUT = Counter("headrace_join_sampled_out_examples", "Examples left out by join.labels.sampling.", ["pipeline"])
EXPIRED = Counter(
    "headrace_join_expired_records", "Records whose other half did not come within the window.", ["pipeline", "stream"]
)
OUT_OF_BOUNDS = Counter(
    "headrace_join_out_of_bounds_records",
    "Records whose timestamp was too far from their log's recent time, or no timestamp.",
    ["pipeline", "stream"],
)
EVICTED = Counter(
    "headrace_join_evicted_records", "Waiting records given up because memory and disk were full.", ["pipeline"]
)
FORGOTTEN = Counter(
    "headrace_join_forgotten_keys", "Keys forgotten before their time because memory and disk were full.", ["pipeline"]
)
DEAD_LETTERS = Counter(
    "headrace_join_dead_letters",
    "Records that could not be decoded, or that found no other half where that makes them dead letters.",
    ["pipeline"],
)
WAITING = Gauge(
    "headrace_join_waiting_records", "Records in the window without their other half.", ["pipeline", "stream"]
)
REMEMBERED = Gauge("headrace_join_remembered_keys", "Keys remembered to tell duplicates.", ["pipeline", "stream"])
STATE_BYTES = Gauge(
    "headrace_join_state_bytes",
    "About what waiting records and remembered keys take in memory.",
    ["pipeline", "stream"],
)
SPILLED_BYTES = Gauge(
    "headrace_join_spilled_bytes", "What waiting records and remembered keys take on disk.", ["pipeline"]
)
LOW_TIME = Gauge(
    "headrace_join_low_time",
    "No partition of this log will get a record of an earlier time: seconds since the epoch, 0 before it is known.",
    ["pipeline", "stream"],
)
LAG = Gauge("headrace_join_lag_records", "Records not read yet.", ["pipeline", "stream"])
PARTITIONS = Gauge("headrace_join_assigned_partitions", "Partitions that this process joins.", ["pipeline"])
