"""Dead letters: a record that cannot be processed, as it was, with where it came from and why it failed."""

import time
from typing import Literal

from headrace.contracts.events_pb2 import DeadLetter, Header
from headrace.runtime.secrets import clean
from headrace.streams.chunks import Record, timestamp_ms

Phase = Literal["decode", "features", "forward", "predictions", "train"]
_LONGEST_REASON = 2000


def dead_letter(
    record: Record, *, phase: Phase, error: Exception | str, service: str, model: str, version: int
) -> bytes:
    """The dead letter of `record`, encoded; its Kafka key is the record's."""
    reason = clean(str(error)) or type(error).__name__
    letter = DeadLetter(
        topic=record.topic(),
        partition=record.partition(),
        offset=record.offset(),
        timestamp_ms=timestamp_ms(record),
        key=record.key(),
        value=record.value(),
        headers=[Header(name=name, value=value) for name, value in record.headers() or ()],
        phase=phase,
        reason=reason[:_LONGEST_REASON],
        error_type="" if isinstance(error, str) else type(error).__name__,
        service=service,
        model=model,
        model_version=version,
        at_us=time.time_ns() // 1000,
    )
    return letter.SerializeToString()
