"""The role `rpc` on live weights, with a new version whenever it is told.

A coordinator, an agent and `rpc` as processes.
"""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from torch import nn

from benchmarks.serving.contestants import LOGS, ROOT, Stage, rpc_line, wait_for_rpc
from benchmarks.serving.requests import MODEL
from benchmarks.serving.servers import Server, launch
from headrace.contracts.topics import CHECKPOINTS, model_partition, system_topics
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings
from headrace.weights import VersionFacts, checkpoint_event, open_store, publish_version


class Versions:
    """Publishes versions whose answers are the network's plus the version's number."""

    def __init__(self, settings: ServiceSettings, network: nn.Module) -> None:
        kafka.ensure_topics(settings, system_topics())
        self._store = open_store(settings)
        self._producer = kafka.producer(settings, **{"linger.ms": 0})
        self._state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        self._last = next(reversed(self._state))
        self.version = 0

    def publish(self) -> None:
        """Write the next version's chunks, and announce it."""
        self.version += 1
        state = {**self._state, self._last: self._state[self._last] + torch.tensor(float(self.version))}
        manifest = publish_version(
            state,
            VersionFacts(model=MODEL, version=self.version, base_version=self.version - 1, epoch=1, step=self.version),
            store=self._store,
        )
        event = checkpoint_event(manifest).SerializeToString()
        self._producer.produce(CHECKPOINTS.name(), event, MODEL, model_partition(MODEL))
        self._producer.flush()

    def close(self) -> None:
        """Close the store."""
        self._store.close()


@contextmanager
def swapping(versions: Versions, every_s: float) -> Iterator[None]:
    """Publish a version every so often, meanwhile."""
    over = threading.Event()

    def publish() -> None:
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            versions.publish()
            due += every_s

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def live_rpc(stage: Stage, settings: ServiceSettings, versions: Versions) -> Iterator[Server]:
    """The role `rpc`, on the servers' cores, serving what an agent brings; those who bring it have all cores."""
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers, "REDIS_URL": settings.redis_url,
        "HEADRACE_RUN_DIR": str(stage.folder), "HEADRACE_STORAGE_DIR": str(settings.storage_folder),
        "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    with ExitStack() as stack:
        for role in ("coordinator", "agent"):
            line = [sys.executable, "-m", f"services.ckpt.{role}"]
            server = launch(line, Path(LOGS, f"serving-{role}.log"), {**os.environ, **env})
            stack.callback(server.stop)
        rpc = stage.launch("rpc-live", rpc_line(stage), **env)
        stack.callback(rpc.stop)
        versions.publish()
        wait_for_rpc(rpc, stage.folder)
        yield rpc
