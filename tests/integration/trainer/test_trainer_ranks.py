"""Two ranks on a real broker: one is killed, all resume, and then one process alone goes on."""

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from headrace.platform.process import ProcessId
from headrace.weights import Manifest
from headrace.weights.opening import open_store
from services.trainer.checkpoint import CheckpointFolder
from tests.integration.trainer.test_trainer_process import events_of, learned, newest, prepare, wait
from tests.line_kit import example, running
from tests.patience import WAIT_S

COUNT = 8_000


def all_children(parent: int) -> list[int]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return sorted(int(pid) for task in tasks for pid in (task / "children").read_text().split())


def test_a_rank_killed_loses_nothing_and_one_process_goes_on(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("ranks")
    training = {"checkpoint_examples": 500, "checkpoint_s": 0.2}
    path, _, settings = prepare(kafka, tmp_path, name, COUNT, **training)
    arguments = ("trainer", "trainer-0", path, settings.run_folder, kafka.bootstrap_servers)
    with running(*arguments, "--ranks=2") as group:
        folder = CheckpointFolder(settings.storage_folder, name)
        wait(lambda: any(entry.version >= 3 for entry in folder.entries()))
        before = all_children(group.process.pid)
        assert len(before) == 2
        os.kill(before[1], signal.SIGKILL)
        assert learned(settings, name) < COUNT
        wait(lambda: learned(settings, name) == COUNT)
        after = all_children(group.process.pid)
        assert len(after) == 2
        assert not set(before) & set(after)
        assert group.stop() == 0
    assert newest(settings, name).header.offsets == {0: COUNT // 2, 1: COUNT // 2}
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for n in range(100):
        producer.produce(f"{name}.examples", example(n % 2, COUNT // 2 + n // 2, COUNT + n, 0.5), b"k", n % 2)
    assert producer.flush(WAIT_S) == 0
    with running(*arguments) as one:
        wait(lambda: learned(settings, name) == COUNT + 100)
        assert one.stop() == 0
    events = events_of(kafka, name)
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert {event.epoch for event in events} == {1, 2, 3}
    store = open_store(settings)
    for event in events:
        manifest = Manifest.decode(event.manifest)
        offsets = sum(manifest.offsets[f"{name}.examples"].values())
        assert manifest.metrics.get("examples", 0.0) == offsets  # each example once, none left out
        assert event.epoch == 3 or not (manifest.delta or store.claim(name, manifest.chunks))
    store.close()
    assert all(a.step <= b.step for a, b in pairwise(events))


def test_no_rank_outlives_the_main_process_even_if_it_hangs(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("orphans")
    path, _, settings = prepare(kafka, tmp_path, name, 640, checkpoint_s=0.2)
    with running("trainer", "trainer-0", path, settings.run_folder, kafka.bootstrap_servers, "--ranks=2") as group:
        wait(lambda: learned(settings, name) == 640)
        ranks = [found for pid in all_children(group.process.pid) if (found := ProcessId.of(pid))]
        assert len(ranks) == 2
        os.kill(ranks[1].pid, signal.SIGSTOP)
        group.process.kill()
        wait(lambda: not any(rank.alive() for rank in ranks))


def test_torchrun_starts_the_ranks_too(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("torchrun")
    path, _, settings = prepare(kafka, tmp_path, name, 640, checkpoint_s=0.2)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m"]
    command += ["services.trainer", f"--pipeline={path}", f"--run-dir={settings.run_folder}", "--ops-port=0"]
    process = subprocess.Popen([*command, f"--kafka-bootstrap-servers={kafka.bootstrap_servers}"])
    try:
        wait(lambda: learned(settings, name) == 640)
        assert newest(settings, name).header.offsets == {0: 320, 1: 320}
    finally:
        process.terminate()
        process.wait(WAIT_S)
