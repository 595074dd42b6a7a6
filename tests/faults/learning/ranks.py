"""What two ranks that were never interrupted make of the same rounds."""

import socket
from bisect import bisect_left
from pathlib import Path

from torch.multiprocessing.spawn import spawn

from headrace.model.pipeline import load_pipeline
from headrace.runtime.devices.host import HOST
from services.trainer.batches import Item, merged
from services.trainer.checkpoint import Checkpoint
from services.trainer.ranks.learner import RankLearner
from tests.unit.trainer.ranks.test_ranks_equal import join_group
from tests.unit.trainer.world_kit import digest

Raw = dict[int, list[tuple[int, bytes]]]
"""Offset and value of each partition's examples."""


def between(items: list[Item], start: int, end: int) -> list[Item]:
    """Those at offsets from `start` to before `end`."""
    low, high = (bisect_left(items, offset, key=lambda item: item.offset) for offset in (start, end))
    return items[low:high]


def replayed(pipeline: Path, chain: list[bytes], log: Raw, folder: Path) -> str:
    """The digest of two ranks' state after the rounds of these checkpoints, oldest first, from the first of them on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    spawn(_rank, (port, pipeline, chain, log, folder), nprocs=2)  # type: ignore[no-untyped-call]
    return (folder / "digest").read_text()


def _rank(number: int, port: int, path: Path, chain: list[bytes], raw: Raw, folder: Path) -> None:  # noqa: PLR0917
    group, pipeline, at = join_group(number, port), load_pipeline(path), Checkpoint.decode(chain[0])
    decode = pipeline.example_decoder.decode
    log = {p: [_item(p, offset, decode(value)) for offset, value in raw[p]] for p in raw if p % 2 == number}
    learner = RankLearner(pipeline, 2000, at, HOST, group=group)
    start, newest = at.header.offsets, at
    for newest in map(Checkpoint.decode, chain[1:]):
        for row in newest.header.batches:
            ends = dict(zip(newest.header.partitions, row, strict=True))
            learner.learn(merged({p: between(log[p], start[p], ends[p]) for p in log}))
            start = ends
    state = learner.state()
    random, *others = group.exchange(state.random)
    if number == 0:
        random = {**random, "ranks": others}
        made = Checkpoint(newest.header, state.weights, state.optimizer, random, [], state.lanes)
        (folder / "digest").write_text(digest(made))
    group.close()


def _item(partition: int, offset: int, example: object) -> Item:
    return Item(example.label_ms, partition, offset, example)  # type: ignore[attr-defined]
