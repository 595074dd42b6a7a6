"""Two published versions of a pipeline, without a trainer: the second one's predictions are twice the first one's."""

import shutil
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from headrace.contracts.topics import CHECKPOINTS, system_topics
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings, load
from headrace.weights import VersionFacts, checkpoint_event, open_store, publish_version
from tests.integration.batch.conftest import TRIPS, Batches


def publish(kafka: Any, batches: Batches, tmp: Path) -> tuple[Path, str]:
    """A copy of the trips pipeline under another name, with versions 1 and 2 published; its folder and its name."""
    name = kafka.unique("trips")
    folder = tmp / "pipeline"
    shutil.copytree(TRIPS, folder)
    text = (folder / "pipeline.yaml").read_text().replace("name: trips", f"name: {name}")
    (folder / "pipeline.yaml").write_text(text)
    flags = ["--storage-dir", str(tmp / "storage"), "--kafka-bootstrap-servers", kafka.bootstrap_servers]
    settings = load(ServiceSettings, "test", flags)
    ensure_topics(settings, system_topics())
    store = open_store(settings)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for version in (1, 2):
        state = dict(batches.network.state_dict())
        for last in ("2.weight", "2.bias"):
            state[last] = state[last] * version
        manifest = publish_version(
            state,
            VersionFacts(
                model=name, version=version, base_version=version - 1, epoch=1, step=version, created_at=version
            ),
            store=store,
        )
        producer.produce(CHECKPOINTS.name(), checkpoint_event(manifest).SerializeToString(), key=name.encode())
    assert producer.flush(30) == 0
    store.close()
    return folder, name
