"""Have a new broker create the topics of transactions and groups before the roles start.

The broker creates them at the first request for a coordinator. A client that asks meanwhile is told to retry, and
librdkafka waits half a second before it does: at the start of a run each role would wait that long.
"""

from collections.abc import Mapping
from typing import Any

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer
from confluent_kafka.admin import AdminClient

_NAME = "headrace.start"
_TIMEOUT_S = 10.0


def create_coordinators(bootstrap_servers: str, config: Mapping[str, str] | None = None) -> bool:
    """Whether the broker coordinates transactions and groups within `_TIMEOUT_S`. If not, the roles wait for that.

    `config` are further librdkafka properties: how to log in.
    """
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap_servers,
        "log_level": 0,
        "error_cb": lambda _: None,
        **(config or {}),
    }
    try:
        groups = AdminClient(settings).list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(_NAME)], request_timeout=_TIMEOUT_S
        )
        Producer({**settings, "transactional.id": _NAME}).init_transactions(_TIMEOUT_S)
        for future in groups.values():
            future.result(_TIMEOUT_S)
    except (KafkaException, TimeoutError):
        return False
    return True
