"""The transport: what Faust asks for consumers and producers."""

from typing import Any, ClassVar

import confluent_kafka
from faust.transport import base

from headrace.streams.transport.consumer import ChunkConsumer
from headrace.streams.transport.producer import ChunkProducer


class ChunkTransport(base.Transport):
    """Faust on confluent-kafka, a chunk of records at a time."""

    Consumer: ClassVar[type[Any]] = ChunkConsumer
    Producer: ClassVar[type[Any]] = ChunkProducer
    default_port = 9092
    driver_version = f"confluent-kafka={confluent_kafka.__version__}, chunked"
