"""A label becomes a record on the pipeline's labels topic, in the transaction that notes it."""

from headrace.contracts.labelling import Published, label_headers
from headrace.contracts.plain_values import time_of
from services.labelling.work.entry import Entry
from services.labelling.work.store import LabelRecord, Store


def publish(store: Store, entry: Entry, now_ms: int) -> None:
    """Put the label that counts into the outbox, unless that very label is on the topic already.

    The record goes to the partition of its event: the join reads both together. It has the time of its publication, for
    the join's window counts until a label is known.
    """
    decision = entry.deciding
    assert decision is not None
    is_there = entry.published_label == bytes(decision.label)
    with store.changing(entry):
        entry.work.state, entry.work.due_ms, entry.work.lease = "published", 0, None
        if not is_there:
            entry.work.published.append(Published(decision.id, now_ms))
    if not is_there:
        headers = label_headers(decision.labeller, time_of(decision.at_ms / 1000), entry.id)
        partition = entry.item.source[0] if entry.item.source is not None else None
        store.outbox.labels.append(LabelRecord(entry.item.key.encode(), bytes(decision.label), headers, partition))
