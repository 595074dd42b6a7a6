"""Samples as rows: the table `metrics`, as the samples were taken and folded into minutes and hours.

A series is named by metric, model, version, slice and labels; the labels are JSON with sorted names. Rows are sorted by
series and time, so that a query reads the few row groups in which its series are.
"""

from typing import Any

import msgspec

from headrace.archive.tables import Encoder, Records, Rows
from headrace.contracts import topics
from headrace.contracts.records import Sample, Samples

SERIES = ("metric", "model", "version", "slice", "labels")
ORDER = [(name, "ascending") for name in (*SERIES, "taken_at")]
ROW_GROUP = 1 << 16

_DECODER = msgspec.json.Decoder(Samples)
_ENCODER = msgspec.json.Encoder(order="sorted")


class MetricsTable:
    """The table of one pipeline's samples as they were taken."""

    name = "metrics"

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self.topic = topics.METRICS.name()

    def columns(self) -> Any:
        """See `Table`."""
        import pyarrow as pa

        return pa.schema(
            [*_series_columns(), ("value", pa.float64()), ("_partition", pa.int32()), ("_offset", pa.int64())]
        )

    def encoder(self) -> Encoder:
        """See `Table`. Records of other pipelines make no rows."""
        schema = self.columns()
        return lambda records: self._rows(schema, records)

    def _rows(self, schema: Any, records: Records) -> Rows:
        import pyarrow as pa

        found, problem, unreadable = list[tuple[int, int, Sample]](), "", 0
        for offset, value in zip(records.offsets, records.values, strict=True):
            try:
                taken = _DECODER.decode(value or b"")
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                unreadable += 1
                problem = problem or f"{self.topic}[{records.partition}]@{offset}: {error}"
                continue
            if taken.pipeline == self._pipeline:
                found += [(offset, taken.at_us // 1000, sample) for sample in taken.samples]
        times = [at for _, at, _ in found]
        samples = [sample for _, _, sample in found]
        table = pa.table(
            {
                **{name: [getattr(one, name) for one in samples] for name in SERIES[:-1]},
                "labels": labels_of(samples),
                "taken_at": pa.array(times, pa.timestamp("ms")),
                "value": [one.value for one in samples],
                "_partition": [records.partition] * len(found),
                "_offset": [offset for offset, _, _ in found],
            },
            schema=schema,
        )
        return Rows(table.sort_by(ORDER), unreadable, min(times, default=0), max(times, default=0), problem)


def labels_of(samples: list[Sample]) -> list[str]:
    """The labels of each, as text; equal labels are made once."""
    known = dict[tuple[tuple[str, str], ...], str]()
    made = list[str]()
    for sample in samples:
        key = tuple(sample.labels.items())
        if key not in known:
            known[key] = label_text(sample.labels)
        made.append(known[key])
    return made


def label_text(labels: dict[str, str]) -> str:
    """Labels as a column has them; "" for none."""
    return _ENCODER.encode(labels).decode() if labels else ""


def labels_in(text: str) -> dict[str, str]:
    """Labels from a column's text."""
    return msgspec.json.decode(text, type=dict[str, str]) if text else {}


def folded_columns() -> Any:
    """The Arrow schema of folded rows: of `count` samples the mean, the lowest, the highest and the last."""
    import pyarrow as pa

    values = [(name, pa.float64()) for name in ("value", "low", "high", "last")]
    return pa.schema([*_series_columns(), *values, ("count", pa.int64())])


def _series_columns() -> list[tuple[str, Any]]:
    import pyarrow as pa

    kinds = {"version": pa.int64()}
    return [*((name, kinds.get(name, pa.string())) for name in SERIES), ("taken_at", pa.timestamp("ms"))]
