"""The chunked Faust transport on a real broker, in this process."""

import asyncio
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from faust.types import TP

from headrace.runtime import kafka as clients
from headrace.runtime.errors import ConfigError, DependencyError, FencedError
from headrace.runtime.lifecycle import Stop
from headrace.runtime.settings import ServiceSettings
from headrace.streams.app import ChunkApp, chunk_app
from headrace.streams.buffer import Limits
from headrace.streams.chunks import Chunk, Partition
from headrace.streams.delivery import AbortedError, Batch, Outgoing, Output
from headrace.streams.membership import Member, Membership
from headrace.streams.pipeline import ChunkPipeline
from headrace.streams.transactions import AcknowledgedSink, TransactionalSink
from tests.conftest import Kafka
from tests.patience import WAIT_S


@pytest.fixture
def settings(kafka, tmp_path) -> ServiceSettings:
    return ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers, run_dir=tmp_path).for_role("test")


@pytest.fixture
def produce(kafka) -> Callable[..., None]:
    def send(topic: str, count: int, partition: int = 0, size: int = 10, **options) -> None:
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})
        for n in range(count):
            producer.produce(topic, str(n).zfill(size).encode(), str(n).encode(), partition=partition, **options)
        assert producer.flush(WAIT_S) == 0

    return send


@pytest.fixture
def make(kafka, settings, tmp_path) -> Callable[..., ChunkApp]:
    def build(group: str = "", **options) -> ChunkApp:
        return chunk_app(group or kafka.unique("group"), kafka_settings=settings, datadir=tmp_path / "faust", **options)

    return build


@asynccontextmanager
async def running(app: ChunkApp):
    stop = Stop()
    task = asyncio.create_task(app.run(stop))
    try:
        yield task
    finally:
        stop.set("test over")
        await asyncio.wait_for(task, WAIT_S)


async def until(condition: Callable[[], object], task: asyncio.Task | None = None, seconds: float = WAIT_S) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            if task is not None and task.done():
                await task
            await asyncio.sleep(0.02)


def collect(app: ChunkApp, topic: str) -> list[Chunk]:
    got: list[Chunk] = []

    @app.agent(app.chunks_of(topic), name=f"collect-{topic}")
    async def agent(stream):
        async for chunk in stream:
            got.append(chunk)  # noqa: PERF401 - a stream never ends

    return got


def numbers(chunks: list[Chunk], partition: int = 0) -> list[int]:
    return [int(v) for c in chunks if c.partition == partition for v in c.values()]


def committed(kafka, group: str, topic: str, partitions: int = 1) -> list[int]:
    reader = Consumer({"bootstrap.servers": kafka.bootstrap_servers, "group.id": group})
    try:
        return [
            p.offset for p in reader.committed([TopicPartition(topic, n) for n in range(partitions)], timeout=WAIT_S)
        ]
    finally:
        reader.close()


async def test_records_arrive_as_chunks_with_their_keys_headers_and_timestamps(kafka, make, produce):
    topic = kafka.create_topic(partitions=2)
    produce(topic, 50, 0, headers=[("h", b"1")], timestamp=1_700_000_000_123)
    produce(topic, 30, 1)
    app = make()
    got = collect(app, topic)
    async with running(app) as task:
        await until(lambda: sum(map(len, got)) == 80, task)
    assert numbers(got, 0) == list(range(50))
    assert numbers(got, 1) == list(range(30))
    first = next(c for c in got if c.partition == 0)
    assert first.keys()[:2] == [b"0", b"1"]
    assert first.timestamps_ms()[0] == 1_700_000_000_123
    assert first.records[0].headers() == [("h", b"1")]


async def test_acknowledged_chunks_are_committed_and_the_next_run_goes_on_behind_them(kafka, make, produce):
    topic, group = kafka.create_topic(), kafka.unique("group")
    produce(topic, 100)
    app = make(group)
    got = collect(app, topic)
    async with running(app) as task:
        await until(lambda: len(numbers(got)) == 100, task)
    assert committed(kafka, group, topic) == [100]
    produce(topic, 10)
    again = make(group)
    got = collect(again, topic)
    async with running(again) as task:
        await until(lambda: got, task)
    assert numbers(got) == list(range(10))


async def test_with_transactions_faust_commits_nothing(kafka, make, produce):
    topic, group = kafka.create_topic(), kafka.unique("group")
    produce(topic, 100)
    app = make(group, commit="transactions")
    got = collect(app, topic)
    async with running(app) as task:
        await until(lambda: len(numbers(got)) == 100, task)
        await app.consumer.commit()
    assert committed(kafka, group, topic) == [-1001]


async def test_fetching_stops_at_the_limits_and_polls_go_on(kafka, make, produce):
    topic = kafka.create_topic()
    produce(topic, 20_000, size=100)
    app = make(
        limits=Limits(records=1000, bytes=50_000),
        most_per_round=100,
        consumer_config={"fetch.message.max.bytes": 20_000},
    )
    go, got = asyncio.Event(), []

    @app.agent(app.chunks_of(topic), name="slow")
    async def slow(stream):
        async for chunk in stream:
            got.append(chunk)
            await go.wait()

    async with running(app) as task:
        consumer = app.consumer
        await until(lambda: consumer._poller._choked, task)
        assert consumer._buffer.records <= 2000
        assert consumer._buffer.bytes <= 100_000
        assert await consumer.highwaters(TP(topic, 0)) == {TP(topic, 0): 20_000}  # the poll thread still answers
        go.set()
        await until(lambda: len(numbers(got)) == 20_000, task)
    assert numbers(got) == list(range(20_000))


async def test_pause_resume_seek_and_positions(kafka, make, produce):
    topic = kafka.create_topic(partitions=2)
    produce(topic, 10, 0)
    produce(topic, 10, 1)
    app = make()
    got = collect(app, topic)
    async with running(app) as task:
        await until(lambda: sum(map(len, got)) == 20, task)
        consumer, first = app.consumer, TP(topic, 0)
        assert consumer.assignment() == {TP(topic, 0), TP(topic, 1)}
        assert await consumer.earliest_offsets(first) == {first: 0}
        assert await consumer.position(first) == 10
        assert consumer.highwater(first) == 10
        assert consumer.topic_partitions(topic) == 2
        consumer.pause_partitions({first})
        await until(lambda: Partition(*first) in consumer._poller._paused, task)
        produce(topic, 5, 0)
        produce(topic, 5, 1)
        await until(lambda: len(numbers(got, 1)) == 15, task)
        assert len(numbers(got, 0)) == 10
        consumer.resume_partitions({first})
        await until(lambda: len(numbers(got, 0)) == 15, task)
        await consumer.seek(first, 12)
        await until(lambda: len(numbers(got, 0)) == 18, task)
    assert numbers(got, 0) == [*range(10), *range(5), 2, 3, 4]


@pytest.mark.parametrize("protocol", ["consumer", "classic"])
async def test_two_members_share_the_partitions_and_see_every_record_once_each(
    kafka, make, produce, settings, protocol
):
    topic, group = kafka.create_topic(partitions=4), kafka.unique("group")
    for partition in range(4):
        produce(topic, 100, partition)
    apps = [make(group), make(group)]
    for app in apps:
        original = app.chunks.make_consumer
        app.chunks.make_consumer = lambda _protocol, original=original: original(protocol)
    got = [collect(app, topic) for app in apps]
    async with running(apps[0]) as first:
        await until(lambda: sum(map(len, got[0])) == 400, first)
        async with running(apps[1]) as second:
            await until(lambda: len(apps[0].consumer.assignment()) == len(apps[1].consumer.assignment()) == 2, second)
            for partition in range(4):
                produce(topic, 50, partition)
            await until(lambda: sum(map(len, got[0] + got[1])) == 600, second)
        await until(lambda: len(apps[0].consumer.assignment()) == 4, first)
    assert [len(numbers(got[0] + got[1], p)) for p in range(4)] == [150] * 4


async def test_an_agent_may_send(kafka, make, produce):
    topic, out = kafka.create_topic(), kafka.create_topic(partitions=3)
    produce(topic, 3)
    app = make()
    sent = []

    @app.agent(app.chunks_of(topic), name="forward")
    async def forward(stream):
        async for chunk in stream:
            for key, value in zip(chunk.keys(), chunk.values(), strict=True):
                sent.append(await app.producer.send_and_wait(out, key, value, None, 1_700_000_000.5, {"h": b"1"}))

    async with running(app) as task:
        await until(lambda: len(sent) == 3, task)
        assert [app.producer.key_partition(out, str(n).encode()) for n in range(3)] == [s.topic_partition for s in sent]
    assert all(s.timestamp == 1_700_000_000.5 for s in sent)


async def test_tables_are_refused_with_a_clear_error(kafka, make):
    app = make()
    table = app.Table("counts", default=int)

    @app.agent(app.chunks_of(kafka.create_topic()), name="count")
    async def count(stream):
        async for _ in stream:
            table["x"] += 1

    with pytest.raises(ConfigError, match="tables"):
        await asyncio.wait_for(app.run(Stop()), WAIT_S)


async def test_a_topic_that_does_not_exist_ends_the_app_with_a_clear_error(kafka, make):
    app = make()
    collect(app, kafka.unique("missing"))
    with pytest.raises(DependencyError, match="missing"):
        await asyncio.wait_for(app.run(Stop()), WAIT_S)


# -- transactions
# ------------------------------------------------------------------------------------------------------------


class Copier:
    """Copies a topic to another, in transactions; `spoil` may change what the sink is given."""

    def __init__(self, make, settings, source: str, target: str, group: str, *, identity: str) -> None:
        self.membership = Membership()
        self.sink = TransactionalSink(
            lambda: clients.transactional_producer(settings, identity, **{"transaction.timeout.ms": 10_000})
        )
        self.aborts = 0
        self.pipeline = ChunkPipeline(self.copy, self.sink, self.membership, aborted=self.count)
        self.app = make(
            group, commit="transactions", flow=self.pipeline, membership=self.membership, most_per_round=100
        )
        self.target = target

        @self.app.agent(self.app.chunks_of(source), name=f"copy-{identity}")
        async def agent(stream):
            async for chunk in stream:
                self.pipeline.submit(chunk)

    def copy(self, chunks: list[Chunk]) -> Output:
        output = Output.of(chunks)
        for chunk in chunks:
            output.batches.append(Batch(self.target, 0, [{"value": value, "key": b"k"} for value in chunk.values()]))
        return output

    def count(self) -> None:
        self.aborts += 1


def read(kafka, topic: str, isolation: str = "read_committed") -> list[int]:
    reader = Consumer({
        "bootstrap.servers": kafka.bootstrap_servers, "group.id": kafka.unique("reader"), "isolation.level": isolation,
        "enable.partition.eof": True, "enable.auto.commit": False,
    })  # fmt: skip
    reader.assign([TopicPartition(topic, 0, 0)])
    got: list[int] = []
    try:
        while True:
            message = reader.poll(10)
            if message is None or message.error() is not None:
                return got
            got.append(int(message.value()))
    finally:
        reader.close()


async def test_an_aborted_transaction_is_tried_again_from_the_committed_offsets(kafka, make, settings, produce):
    source, target, group = kafka.create_topic(), kafka.create_topic(), kafka.unique("group")
    produce(source, 1000)
    copier = Copier(make, settings, source, target, group, identity=kafka.unique("tx"))
    deliver, calls = copier.sink.deliver, []

    def spoiled(output: Output, member: Member) -> None:
        calls.append(output)
        if len(calls) in {2, 3, 5}:
            stale = member.metadata.replace(member.metadata[7:11], (9999).to_bytes(4, "little"), 1)
            member = Member(member.generation, stale)
        deliver(output, member)

    copier.sink.deliver = spoiled
    # What is aborted must have reached the broker first, or there would be nothing to hide from readers.
    copier.sink._observe = lambda phase, _: phase == "produce" and copier.sink._producer.flush(WAIT_S)
    async with running(copier.app) as task:
        await until(lambda: committed(kafka, group, source) == [1000], task, 60)
    assert copier.aborts == 3
    assert read(kafka, target) == list(range(1000))
    assert len(read(kafka, target, "read_uncommitted")) > 1000


async def test_a_fenced_instance_ends_and_what_it_had_open_is_never_seen(kafka, make, settings, produce):
    source, target, group, identity = (
        kafka.create_topic(),
        kafka.create_topic(),
        kafka.unique("group"),
        kafka.unique("tx"),
    )
    produce(source, 100)
    old = Copier(make, settings, source, target, group, identity=identity)
    with pytest.raises(FencedError) as caught:  # noqa: PT012 - it is the running app that raises
        async with running(old.app) as task:
            await until(lambda: committed(kafka, group, source) == [100], task)
            successor = TransactionalSink(lambda: clients.transactional_producer(settings, identity))
            await asyncio.to_thread(successor.open)
            produce(source, 100)
            await until(task.done, seconds=30)
    await asyncio.to_thread(successor.close)
    assert caught.value.exit_code == 4
    assert read(kafka, target) == list(range(100))
    assert committed(kafka, group, source) == [100]


def test_a_member_without_proof_of_membership_is_not_let_through(settings, kafka):
    sink = TransactionalSink(lambda: clients.transactional_producer(settings, kafka.unique("tx")))
    sink.open()
    output = Output(1, {Partition("t", 0): 1})
    for member in (Member(1, None), Member(2, b"CGMDv2:")):
        with pytest.raises(AbortedError):
            sink.deliver(output, member)
    sink.close()


def test_a_batch_with_headers_keeps_its_order_and_every_record_its_own(settings: ServiceSettings, kafka: Kafka) -> None:
    """Records of one batch with and without a header, as a consumer reads them back."""
    target, trace = kafka.create_topic(), [("traceparent", b"1")]
    records = [{"value": str(n).encode(), "key": b"k"} for n in range(4)]
    sink = AcknowledgedSink(lambda: clients.producer(settings))
    sink.open()
    sink.deliver(Output(1, {}, batches=[Batch(target, 0, records, [None, trace, None, trace])]), Member(1, None))
    sink.close()
    reader = clients.consumer(settings, kafka.unique("reader"))
    reader.assign([TopicPartition(target, 0, 0)])
    got = reader.consume(4, WAIT_S)
    reader.close()
    assert [(m.value(), m.key(), m.headers()) for m in got] == [
        (b"0", b"k", None), (b"1", b"k", trace), (b"2", b"k", None), (b"3", b"k", trace),
    ]  # fmt: skip


async def test_records_with_headers_go_in_the_same_transaction(kafka, make, settings, produce):
    source, target, group = kafka.create_topic(), kafka.create_topic(), kafka.unique("group")
    produce(source, 10)
    copier = Copier(make, settings, source, target, group, identity=kafka.unique("tx"))
    batched = copier.copy

    def with_headers(chunks):
        output = batched(chunks)
        singles = [
            Outgoing(target, b"k", r["value"], [("h", b"1")], 0) for batch in output.batches for r in batch.records
        ]
        return Output(output.generation, output.offsets, singles=singles)

    copier.pipeline._process = with_headers
    async with running(copier.app) as task:
        await until(lambda: committed(kafka, group, source) == [10], task)
    assert read(kafka, target) == list(range(10))
