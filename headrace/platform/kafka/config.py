"""The embedded broker's settings, as data.

One node that is broker and controller, small, and quick to notice failures.
"""

from collections.abc import Mapping
from pathlib import Path

NODE_ID = 1

# Why each differs from Kafka's default:
TUNING: Mapping[str, str] = {
    # topics are created on purpose, with the partitions that the catalogue says
    "auto.create.topics.enable": "false",
    "num.partitions": "1",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    # one node holds everything; few partitions of the internal topics make the first group and transaction quick
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # nobody waits 3 s for members that may yet come, nor 45 s for one that was killed
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.session.timeout.ms": "3000",
    "group.consumer.session.timeout.ms": "6000",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # after a crash, the node may register again only when its former session is over; but on a machine whose cores are
    # taken away for seconds, a short one ends while the broker lives, and every partition changes its leader's epoch
    "broker.heartbeat.interval.ms": "500",
    "broker.session.timeout.ms": "6000",
    # shared cores and a small heap
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "4",
    "log.cleaner.dedupe.buffer.size": str(8 << 20),
    "log.cleaner.backoff.ms": "5000",
    # a demo's records, not a company's: bounded disk per partition
    "log.segment.bytes": str(256 << 20),
    "log.retention.check.interval.ms": "60000",
}


def broker_config(
    data: Path, port: int, controller_port: int, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The broker's settings: its data in `data`, clients at `port`; `extra` overrides the tuning."""
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "log.dirs": str(data),
        **TUNING,
        **(extra or {}),
    }


def as_properties(values: Mapping[str, str]) -> str:
    """A Java properties file; backslashes in values are escaped."""
    return "".join(f"{name}={value}\n".replace("\\", "\\\\") for name, value in values.items())
