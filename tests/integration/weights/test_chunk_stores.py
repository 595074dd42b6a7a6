"""One suite over every chunk store, and what only some of them can suffer."""

import os
import threading
import time

import pytest
import redis
import torch

from headrace.platform.valkey import EmbeddedValkey
from headrace.runtime.errors import ExitCode
from headrace.weights import MemoryChunkStore, VersionFacts, fetch, publish_version
from headrace.weights.errors import ChunkCorrupt, ChunkMissing, StoreUnavailable
from headrace.weights.format.chunks import digest_of
from headrace.weights.stores.object_store import FRESH_S, ObjectStoreChunkStore
from headrace.weights.stores.redis import RedisChunkStore
from headrace.weights.stores.shared_storage import SharedStorageChunkStore
from tests.patience import WAIT_S

SMALL, LARGE = b"a few bytes", os.urandom(5 << 20)


def make(kind, request, tmp_path, unique):
    if kind == "redis":
        return RedisChunkStore(request.getfixturevalue("redis_url"))
    return {
        "memory": MemoryChunkStore,
        "shared": lambda: SharedStorageChunkStore(tmp_path),
        "objects": lambda: ObjectStoreChunkStore(f"memory://{unique('bucket')}/prefix"),
        "files": lambda: ObjectStoreChunkStore(f"file://{tmp_path}/prefix"),
        "s3": lambda: s3_store(request.getfixturevalue("s3_endpoint"), unique("bucket")),
    }[kind]()


def s3_store(endpoint, bucket):
    made = ObjectStoreChunkStore(f"s3://{bucket}/prefix", key="k", secret="s", endpoint_url=endpoint)
    made._fs.mkdir(bucket)
    return made


@pytest.fixture(scope="session")
def s3_endpoint():
    """A server of the S3 protocol. Neither it nor the driver is locked: they are 30 MB, for one store of many."""
    pytest.importorskip("s3fs", reason="pip install s3fs 'moto[server]' to run the suite over S3")
    moto = pytest.importorskip("moto.server", reason="pip install s3fs 'moto[server]' to run the suite over S3")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture(params=["memory", "shared", "redis", "objects", "files", "s3"])
def store(request, tmp_path, unique):
    made = make(request.param, request, tmp_path, unique)
    yield made
    made.close()


@pytest.fixture
def model(unique):
    return unique("model")


def read(store, model, data):
    buffer = bytearray(len(data))
    store.get_into(model, digest_of(data), memoryview(buffer))
    return bytes(buffer)


@pytest.mark.parametrize("data", [SMALL, b"", b"\r\n$5\r\n", LARGE], ids=["small", "empty", "tricky", "large"])
def test_what_was_put_is_read_back(store, model, data):
    """Of any size, and whatever bytes; from any buffer."""
    store.put(model, digest_of(data), memoryview(bytearray(data)))
    assert read(store, model, data) == data
    store.put(model, digest_of(data), data)
    assert read(store, model, data) == data


def test_claiming_says_what_is_absent(store, model):
    """Of another model's chunks nothing is seen."""
    digests = [digest_of(SMALL), digest_of(LARGE)]
    assert store.claim(model, digests) == set(digests)
    store.put(model, digests[0], SMALL)
    assert store.claim(model, digests) == {digests[1]}
    assert store.claim(f"{model}-other", digests) == set(digests)
    assert store.claim(model, []) == set()


def test_missing_and_corrupt_chunks_are_told_apart_and_hurt_nobody_else(store, model):
    """After an error the next read, perhaps over the same connection, is right."""
    with pytest.raises(ChunkMissing):
        read(store, model, SMALL)
    store.put(model, digest_of(SMALL), SMALL)
    store.put(model, digest_of(LARGE), LARGE[:-1] + b"!")
    with pytest.raises(ChunkCorrupt):
        read(store, model, LARGE)
    store.put(model, digest_of(LARGE), LARGE[:-1])
    with pytest.raises(ChunkCorrupt, match="expected"):
        read(store, model, LARGE)
    assert read(store, model, SMALL) == SMALL
    store.put(model, digest_of(LARGE), LARGE)
    assert read(store, model, LARGE) == LARGE


def each(store, model, parts):
    """Buffers, and how many of them were filled before an error, with the error's kind."""
    buffers = [bytearray(len(part)) for part in parts]
    done, error = 0, None
    try:
        for _ in store.get_each(model, [(digest_of(p), memoryview(b)) for p, b in zip(parts, buffers, strict=True)]):
            done += 1
            assert not any(any(buffer) for buffer in buffers[done:])  # no buffer is written before its turn
    except (ChunkMissing, ChunkCorrupt) as failed:
        error = type(failed)
    return [bytes(buffer) for buffer in buffers], done, error


@pytest.mark.parametrize("bad", [0, 2, 3])
def test_several_are_read_in_order_until_one_cannot_be_had(store, model, bad):
    """The first, one in the middle, the last.

    Missing or corrupt, with the next one perhaps on its way; then all is well.
    """
    parts = [bytes([i + 1]) * 100_000 for i in range(4)]
    for part in parts:
        store.put(model, digest_of(part), part)
    store.put(model, digest_of(parts[bad]), parts[bad][:-1] + b"!")
    _, done, error = each(store, model, parts)
    assert (done, error) == (bad, ChunkCorrupt)
    absent = b"z" * 9
    _, done, error = each(store, model, [*parts[:bad], absent, *parts[bad:]])
    assert (done, error) == (bad, ChunkMissing)
    store.put(model, digest_of(parts[bad]), parts[bad])
    assert each(store, model, parts) == (parts, 4, None)
    assert each(store, model, []) == ([], 0, None)


def test_reading_several_may_be_given_up_at_any_time(store, model):
    """What was on its way goes nowhere: the next read gets its own bytes."""
    parts = [bytes([i + 1]) * 100_000 for i in range(3)]
    for part in parts:
        store.put(model, digest_of(part), part)
    reading = store.get_each(model, [(digest_of(p), memoryview(bytearray(len(p)))) for p in parts])
    next(reading)
    reading.close()
    assert read(store, model, parts[2]) == parts[2]


def test_many_threads_read_at_once(store, model):
    """Each gets its own bytes."""
    parts = [os.urandom(100_000 + i) for i in range(8)]
    for part in parts:
        store.put(model, digest_of(part), part)
    wrong = []

    def work(part):
        wrong.extend(i for i in range(20) if read(store, model, part) != part)

    threads = [threading.Thread(target=work, args=(part,)) for part in parts * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_sweep_removes_what_nobody_refers_to_and_spares_what_was_used_lately(store, model):
    """By model; a claim makes young again."""
    old, kept = digest_of(SMALL), digest_of(LARGE)
    for name in (model, f"{model}-other"):
        store.put(name, old, SMALL)
        store.put(name, kept, LARGE)
    assert store.sweep(model, {kept}, grace_s=600) == 0
    assert store.claim(model, [old]) == set()
    assert store.sweep(model, {kept}, grace_s=-1) == 1
    assert store.claim(model, [old, kept]) == {old}
    assert store.sweep(model, set(), grace_s=-1) == 1
    assert store.claim(f"{model}-other", [old, kept]) == set()
    assert store.sweep(f"{model}-other", set(), grace_s=-1) == 2


def test_versions_survive_sweeps_that_run_while_they_are_published(store, model):
    """Claim, put, and only then the event: a sweep in between takes nothing that the event will name."""
    stop = threading.Event()
    kept: set[str] = set()

    def sweep():
        while not stop.is_set():
            store.sweep(model, set(kept), grace_s=30)

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        for version in range(1, 11):
            state = {"w": torch.arange(4000.0), "v": torch.tensor(version)}
            manifest = publish_version(
                state,
                VersionFacts(model=model, version=version, base_version=version - 1, epoch=1, step=1),
                store=store,
                chunk_size=1024,
            )
            assert int(fetch(manifest, store)["v"]) == version
    finally:
        stop.set()
        sweeper.join()


def test_shared_storage_leaves_no_temporary_files_and_sweeps_those_of_the_dead(tmp_path):
    """A writer that was killed leaves a temporary file: it goes when it is old."""
    store = SharedStorageChunkStore(tmp_path)
    store.put("m", digest_of(SMALL), SMALL)
    (folder,) = (tmp_path / "m" / "chunks").iterdir()
    assert [path.name for path in folder.iterdir()] == [digest_of(SMALL)]
    (folder / ".tmp-1-dead").write_bytes(b"half")
    assert store.sweep("m", {digest_of(SMALL)}, grace_s=60) == 0
    os.utime(folder / ".tmp-1-dead", (1, 1))
    assert store.sweep("m", {digest_of(SMALL)}, grace_s=60) == 1
    assert store.sweep("absent", set()) == 0


def test_shared_storage_that_takes_no_writes_says_so(tmp_path):
    """A file where the folder should be: the same as read-only or full."""
    (tmp_path / "m").write_text("in the way")
    store = SharedStorageChunkStore(tmp_path)
    with pytest.raises(StoreUnavailable, match="mounted"):
        store.put("m", digest_of(SMALL), SMALL)
    with pytest.raises(StoreUnavailable, match="cannot mark"):
        store.claim("m", [digest_of(SMALL)])
    with pytest.raises(StoreUnavailable, match=r"cannot sweep.*writable") as refused:
        store.sweep("m", set())
    assert refused.value.exit_code == ExitCode.DEPENDENCY


@pytest.fixture
def own_valkey(tmp_path):
    server = EmbeddedValkey(tmp_path / "valkey", max_bytes=16 << 20)
    server.launch()
    server.wait_ready()
    yield server
    server.stop()


def test_redis_full_or_gone_is_unavailable(own_valkey, model):
    """Not an error of the data; and it works again when there is room."""
    store = RedisChunkStore(own_valkey.address)
    parts = [bytes([i]) + LARGE for i in range(10)]
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        [store.put(model, digest_of(part), part) for part in parts]
    client = redis.Redis.from_url(own_valkey.address)
    client.flushall()
    client.close()
    store.put(model, digest_of(SMALL), SMALL)
    own_valkey.stop()
    started = time.monotonic()
    for attempt in (
        lambda: read(store, model, SMALL),
        lambda: store.put(model, "d", SMALL),
        lambda: store.claim(model, ["d"]),
    ):
        with pytest.raises(StoreUnavailable):
            attempt()
    assert time.monotonic() - started < WAIT_S
    store.close()


def test_an_object_that_a_claim_cannot_mark_is_put_again_when_it_is_old(tmp_path):
    """A claim says that it is absent; putting it makes it young, and a sweep spares it."""
    store = ObjectStoreChunkStore(f"file://{tmp_path}")
    digest = digest_of(SMALL)
    store.put("m", digest, SMALL)
    (path,) = (tmp_path / "m" / "chunks").rglob(digest)
    old = time.time() - FRESH_S - 1
    os.utime(path, (old, old))
    assert store.claim("m", [digest]) == {digest}
    assert read(store, "m", SMALL) == SMALL
    store.put("m", digest, SMALL)
    assert store.claim("m", [digest]) == set()
    assert store.sweep("m", set(), grace_s=FRESH_S) == 0


def test_a_put_that_was_killed_leaves_a_temporary_file_that_goes_when_it_is_old(tmp_path):
    """Where a put is no atomic step, it is a temporary file and a move."""
    store = ObjectStoreChunkStore(f"file://{tmp_path}")
    store.put("m", digest_of(SMALL), SMALL)
    (folder,) = (tmp_path / "m" / "chunks").iterdir()
    assert [path.name for path in folder.iterdir()] == [digest_of(SMALL)]
    (folder / ".tmp-1-dead").write_bytes(b"half")
    os.utime(folder / ".tmp-1-dead", (1, 1))
    assert store.sweep("m", {digest_of(SMALL)}, grace_s=60) == 1
    assert [path.name for path in folder.iterdir()] == [digest_of(SMALL)]


def test_an_object_store_that_refuses_is_unavailable(tmp_path):
    """A file where the folder should be."""
    (tmp_path / "m").write_text("in the way")
    store = ObjectStoreChunkStore(f"file://{tmp_path}")
    with pytest.raises(StoreUnavailable, match="credentials"):
        store.put("m", digest_of(SMALL), SMALL)
    with pytest.raises(StoreUnavailable):
        read(store, "m", SMALL)
