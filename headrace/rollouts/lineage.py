"""Where a version comes from: the versions before it, the examples that each learned from, the code that made it."""

from collections.abc import Iterable, Mapping

import msgspec

from headrace.contracts.events_pb2 import CheckpointPublished

Range = dict[int, tuple[int, int]]
"""Partition → (first offset, offset after the last)."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Versions of one trainer's life, one after the other, by the same code: what they learned from, taken together.

    Attributes:
        first, last: the versions.
        base: the version that the first went on from; 0 for none.
        published_us: when the first and the last were made, µs since the epoch.
        learned: topic → range of offsets. From where it began, for versions that had a base; else from 0.
        origin: what made them, see `CheckpointPublished`.
        metrics: the last one's.
    """

    first: int
    last: int
    base: int
    published_us: tuple[int, int]
    learned: dict[str, Range]
    origin: dict[str, str]
    metrics: dict[str, float]


class Lineage(msgspec.Struct, frozen=True, kw_only=True):
    """A version and its ancestors, the newest first. `complete` is False where older events were deleted."""

    model: str
    version: int
    checkpoint: str
    step: int
    steps: list[Step]
    complete: bool


def lineage_of(published: Iterable[CheckpointPublished], model: str, version: int) -> Lineage | None:
    """The lineage of a version by its model's checkpoint events; None if it is not among them."""
    known = {event.version: event for event in published if event.model == model}  # published again: the same
    if version not in known:
        return None
    chain = [known[version]]
    while (base := chain[-1].base_version) in known:
        chain.append(known[base])
    steps: list[Step] = []
    for event in chain:
        before = _offsets(known[event.base_version]) if event.base_version in known else {}
        one = _step(event, before, published_at_zero=not event.base_version)
        if steps and _same_life(known[steps[-1].first], event):
            steps[-1] = _joined(one, steps[-1])
        else:
            steps.append(one)
    first = chain[0]
    return Lineage(
        model=model,
        version=version,
        checkpoint=first.manifest_digest,
        step=first.step,
        steps=steps,
        complete=not chain[-1].base_version,
    )


def _offsets(event: CheckpointPublished) -> dict[str, dict[int, int]]:
    found: dict[str, dict[int, int]] = {}
    for one in event.offsets:
        found.setdefault(one.topic, {})[one.partition] = one.offset
    return found


def _step(event: CheckpointPublished, before: Mapping[str, Mapping[int, int]], *, published_at_zero: bool) -> Step:
    """One version as a step. Where its base is not known, what it learned is not either: the range is empty."""
    learned = {
        topic: {
            partition: (before.get(topic, {}).get(partition, 0 if published_at_zero or before else end), end)
            for partition, end in offsets.items()
        }
        for topic, offsets in _offsets(event).items()
    }
    return Step(
        first=event.version,
        last=event.version,
        base=event.base_version,
        published_us=(event.created_at_us, event.created_at_us),
        learned=learned,
        origin=dict(event.origin),
        metrics=dict(event.metrics),
    )


def _same_life(younger: CheckpointPublished, older: CheckpointPublished) -> bool:
    return younger.epoch == older.epoch and dict(younger.origin) == dict(older.origin) and "job" not in younger.origin


def _joined(older: Step, younger: Step) -> Step:
    learned = {
        topic: {
            partition: (older.learned.get(topic, {}).get(partition, (begin, end))[0], end)
            for partition, (begin, end) in ranges.items()
        }
        for topic, ranges in younger.learned.items()
    }
    return msgspec.structs.replace(
        younger,
        first=older.first,
        base=older.base,
        published_us=(older.published_us[0], younger.published_us[1]),
        learned=learned,
    )
