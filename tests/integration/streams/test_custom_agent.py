"""Custom agents on the chunked transport, as docs/processors.md shows them.

Orders joined with their items' newest prices.
"""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.lookup import Lookup
from headrace.runtime import kafka as clients
from headrace.runtime.errors import DependencyError
from headrace.runtime.lifecycle import Stop
from headrace.runtime.settings import ServiceSettings
from headrace.streams.app import ChunkApp, chunk_app
from headrace.streams.chunks import Chunk
from headrace.streams.delivery import Batch, Output
from headrace.streams.membership import Membership
from headrace.streams.pipeline import ChunkPipeline
from headrace.streams.transactions import TransactionalSink
from tests.patience import WAIT_S


class Order(msgspec.Struct):
    item: str
    count: int


ORDER, PRICE = msgspec.json.Decoder(Order), msgspec.json.Decoder(float)
PARTITIONS = 2


class Shop:
    """Topics of orders, prices and totals on the broker."""

    def __init__(self, kafka, folder) -> None:
        self.settings = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers, run_dir=folder).for_role(
            "test"
        )
        self.folder, self.group = folder, kafka.unique("shop")
        self.orders, self.totals = (kafka.create_topic(name, PARTITIONS) for name in ("orders", "totals"))
        self.prices = kafka.create_topic("prices", 3, {"cleanup.policy": "compact"})
        self._producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})

    def price(self, **prices: float | None) -> None:
        for item, price in prices.items():
            self._producer.produce(self.prices, None if price is None else msgspec.json.encode(price), item.encode())
        assert self._producer.flush(WAIT_S) == 0

    def order(self, numbers: range, item: str = "apple") -> None:
        for n in numbers:
            self._producer.produce(self.orders, msgspec.json.encode(Order(item, n)), item.encode(), n % PARTITIONS)
            self._producer.poll(0)
        assert self._producer.flush(WAIT_S) == 0

    def read_totals(self) -> list[float | None]:
        """Every committed total."""
        reader = Consumer({
            "bootstrap.servers": self.settings.kafka_bootstrap_servers, "group.id": f"{self.group}.reader",
            "isolation.level": "read_committed", "enable.partition.eof": True, "enable.auto.commit": False,
        })  # fmt: skip
        found, open_partitions = [], set(range(PARTITIONS))
        try:
            reader.assign([TopicPartition(self.totals, p, 0) for p in open_partitions])
            while open_partitions:
                for message in reader.consume(1000, 0.2):
                    if message.error() is None:
                        found.append(msgspec.json.decode(message.value()))
                    else:
                        open_partitions.discard(message.partition())
        finally:
            reader.close()
        return found

    def app(self, **options) -> ChunkApp:
        return chunk_app(self.group, kafka_settings=self.settings, datadir=self.folder / "faust", **options)


@pytest.fixture
def shop(kafka, tmp_path) -> Shop:
    return Shop(kafka, tmp_path)


def per_record(shop: Shop) -> ChunkApp:
    """At least once: the chunk is acknowledged when the loop comes back for the next one."""
    app, prices = shop.app(), Lookup(shop.settings, shop.prices, PRICE.decode)
    app.during(prices.open, prices.close)

    @app.agent(app.chunks_of(shop.orders), name="per-record")
    async def enrich(stream):
        async for chunk in stream:
            sent = []
            for record in chunk.records:
                order, price = ORDER.decode(record.value()), prices.get(record.key())
                total = None if price is None else order.count * price
                key, value = record.key(), msgspec.json.encode(total)
                sent.append(await app.producer.send(shop.totals, key, value, chunk.partition, None, None))
            await asyncio.gather(*sent)

    return app


def per_chunk(shop: Shop) -> ChunkApp:
    """Exactly once: the totals and the orders' offsets are one transaction."""
    prices, membership = Lookup(shop.settings, shop.prices, PRICE.decode), Membership()

    def enrich(chunks: list[Chunk]) -> Output:
        output = Output.of(chunks)
        for chunk in chunks:
            keys, orders = chunk.keys(), [ORDER.decode(value) for value in chunk.values()]
            found = [prices.get(key) for key in keys]
            totals = [None if price is None else o.count * price for o, price in zip(orders, found, strict=True)]
            records = [{"key": k, "value": msgspec.json.encode(t)} for k, t in zip(keys, totals, strict=True)]
            output.batches.append(Batch(shop.totals, chunk.partition, records))
        return output

    sink = TransactionalSink(lambda: clients.transactional_producer(shop.settings, shop.group))
    pipeline = ChunkPipeline(enrich, sink, membership)
    app = shop.app(commit="transactions", flow=pipeline, membership=membership, most_per_round=500)
    app.during(prices.open, prices.close)

    @app.agent(app.chunks_of(shop.orders), name="per-chunk")
    async def submit(stream):
        async for chunk in stream:
            pipeline.submit(chunk)

    return app


@asynccontextmanager
async def running(app: ChunkApp):
    stop = Stop()
    task = asyncio.create_task(app.run(stop))
    try:
        yield task
    finally:
        stop.set("test over")
        await asyncio.wait_for(task, WAIT_S)


async def until(shop: Shop, task: asyncio.Task, count: int) -> list[float | None]:
    """All totals, once there are `count`."""
    async with asyncio.timeout(40):
        while len(found := await asyncio.to_thread(shop.read_totals)) < count:
            if task.done():
                await task
            await asyncio.sleep(0.05)
    return found


@pytest.mark.parametrize("make", [per_record, per_chunk])
async def test_every_order_meets_the_newest_price_and_a_restart_goes_on_behind_it(shop, make):
    shop.price(apple=1.0, pear=5.0)
    shop.price(apple=2.0)
    shop.order(range(2000))
    async with running(make(shop)) as task:
        assert Counter(await until(shop, task, 2000)) == Counter(n * 2.0 for n in range(2000))
    shop.price(pear=None)
    shop.order(range(10))
    shop.order(range(5), "pear")
    async with running(make(shop)) as task:
        found = await until(shop, task, 2015)
    assert Counter(found) == Counter([*(n * 2.0 for n in range(2000)), *(n * 2.0 for n in range(10)), *[None] * 5])


async def test_a_price_that_changes_meanwhile_is_seen(shop):
    shop.price(apple=1.0)
    shop.order(range(1, 2))
    lookup_app = per_chunk(shop)
    async with running(lookup_app) as task:
        assert await until(shop, task, 1) == [1.0]
        shop.price(apple=3.0)
        total, count = 1.0, 1
        async with asyncio.timeout(30):
            while total == 1.0:
                shop.order(range(1, 2))
                count += 1
                total = (await until(shop, task, count))[-1]
        assert total == 3.0


def test_a_lookup_leaves_out_what_it_cannot_decode_and_says_when_its_topic_is_not_there(shop, kafka):
    rates = kafka.create_topic(
        "rates", 3
    )  # not compacted: there the broker refuses a batch that holds a record without a key
    for value, key in ((b"1.5", b"apple"), (b"cheap", b"apple"), (b"7", None)):
        shop._producer.produce(rates, value, key)
    assert shop._producer.flush(WAIT_S) == 0
    prices = Lookup(shop.settings, rates, PRICE.decode)
    prices.open()
    assert (len(prices), prices.get(b"apple"), prices.get(b"pear"), prices.get(None)) == (1, 1.5, None, None)
    prices.close()
    missing = Lookup(shop.settings, kafka.unique("nowhere"), PRICE.decode)
    with pytest.raises(DependencyError, match="does not exist"):
        missing.open()
    missing.close()
