"""Stores and shared memory that fail under load: serving goes on, versions come from what is left, and it heals."""

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from headrace.runtime.errors import ExitCode
from headrace.weights.host.slots import remove_stale_pools
from tests.faults.ckpt.loaded import Loaded
from tests.integration.ckpt.fleet import Applied
from tests.patience import WAIT_S


@pytest.fixture
def reports(loaded: Loaded) -> Iterator[Applied]:
    made = Applied(loaded.fleet)
    yield made
    made.close()


def wait_for_log(log: Path, words: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while words not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.02)


@pytest.mark.parametrize(
    "damage", [lambda data: bytes(len(data)), lambda data: data[:-1]], ids=["corrupt", "truncated"]
)
def test_a_chunk_damaged_in_redis_comes_from_shared_storage_and_is_put_back(loaded: Loaded, damage) -> None:
    manifest = loaded.put()
    chunk = manifest.chunks[0]
    whole = loaded.file_of(chunk).read_bytes()
    loaded.redis.set(loaded.key_of(chunk), damage(whole))
    loaded.serves(loaded.announce(manifest))
    assert loaded.redis.get(loaded.key_of(chunk)) == whole


@pytest.mark.parametrize(
    ("damage", "said"),
    [(lambda data: bytes(len(data)), "is corrupt"), (lambda data: data[:-1], "bytes, expected"), (None, "is not in")],
    ids=["corrupt", "truncated", "missing"],
)
def test_a_chunk_damaged_in_both_stores_ends_its_version_and_no_other(
    loaded: Loaded, reports: Applied, damage, said: str
) -> None:
    """The agent says what is wrong with which chunk, and the workers keep what they have."""
    manifest = loaded.put()
    file = loaded.file_of(manifest.chunks[0])
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage(file.read_bytes()))
    loaded.redis.delete(loaded.key_of(manifest.chunks[0]))
    loaded.announce(manifest)
    failed = reports.expect("FAILED", manifest.version)
    assert manifest.chunks[0] in failed.error
    assert said in failed.error
    loaded.goes_on()
    loaded.serves(loaded.publish())


def test_redis_flushed_in_the_middle_of_a_pull(loaded: Loaded) -> None:
    """The rest comes from shared storage, and Redis has it again."""
    agent = loaded.frozen_mid_pull()
    loaded.redis.flushall()
    loaded.goes_on()
    agent.go_on()
    loaded.serves(loaded.version)
    assert loaded.redis.keys(loaded.key_of("*"))


def test_redis_stopped_in_the_middle_of_a_pull_and_back_later(loaded: Loaded) -> None:
    """What is published meanwhile is served as well."""
    agent = loaded.frozen_mid_pull()
    loaded.valkey.stop()
    agent.go_on()
    loaded.serves(loaded.version)
    loaded.serves(loaded.publish())
    loaded.start_redis()
    loaded.serves(loaded.publish())


def test_redis_that_hangs_in_the_middle_of_a_pull(loaded: Loaded) -> None:
    """It takes connections and answers nothing: the pull goes on from shared storage."""
    assert loaded.valkey.id is not None
    agent, hung = loaded.frozen_mid_pull(), psutil.Process(loaded.valkey.id.pid)
    hung.suspend()
    try:
        agent.go_on()
        loaded.serves(loaded.version)
    finally:
        hung.resume()
    loaded.serves(loaded.publish())


def test_redis_out_of_memory_in_the_middle_of_a_pull_and_of_a_publication(loaded: Loaded) -> None:
    """It takes no writes: what it lost stays in shared storage, and so does what is published."""
    agent = loaded.frozen_mid_pull()
    loaded.redis.flushall()
    loaded.redis.config_set("maxmemory", 1)
    agent.go_on()
    loaded.serves(loaded.version)
    loaded.serves(loaded.publish())
    assert loaded.redis.dbsize() == 0
    loaded.redis.config_set("maxmemory", 64 << 20)
    loaded.serves(loaded.publish())


def test_redis_that_evicts_in_the_middle_of_a_pull_and_of_a_publication(loaded: Loaded) -> None:
    """As with the policy allkeys-lru, and less room than a version needs."""
    agent = loaded.frozen_mid_pull()
    room = loaded.redis.info("memory")["used_memory_startup"] + (128 << 10)
    loaded.redis.config_set("maxmemory-policy", "allkeys-lru")
    loaded.redis.config_set("maxmemory", room)
    agent.go_on()
    loaded.serves(loaded.version)
    loaded.serves(loaded.publish())
    assert loaded.redis.info("stats")["evicted_keys"] > 0
    loaded.redis.config_set("maxmemory-policy", "noeviction")
    loaded.redis.config_set("maxmemory", 64 << 20)
    loaded.serves(loaded.publish())


def test_slow_storage_delays_versions_and_no_request(loaded: Loaded) -> None:
    """Each chunk takes a while; a version that comes meanwhile follows."""
    loaded.agent.kill()
    loaded.host(slow_s=0.05)
    first = loaded.publish()
    wait_for_log(loaded.agent.log, f"version={first} ")  # it is being staged, and not skipped for the next one
    second = loaded.publish()
    loaded.serves(first)
    loaded.serves(second)
    loaded.agent.kill()
    loaded.host()


def test_shared_storage_that_takes_no_writes_ends_the_publication_and_no_sweep(loaded: Loaded) -> None:
    """The trainer ends with the code of storage that is away, nothing is announced, and all goes on when it is back."""
    folder = loaded.fleet.folder / "storage" / loaded.model
    away = folder.rename(folder.with_name("away"))
    folder.write_text("a file where the folder should be")
    version = loaded.version + 1
    refused = loaded.trainer(version)
    refused.expect(ExitCode.DEPENDENCY)
    assert "is the storage mounted, writable and not full?" in refused.log.read_text()
    wait_for_log(loaded.coordinator.log, "sweep failed")
    loaded.goes_on()
    folder.unlink()
    away.rename(folder)
    stray = loaded.file_of("0" * 32)
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"nobody refers to this")
    os.utime(stray, (1, 1))
    loaded.trainer(version).expect(0)
    loaded.serves(version)
    deadline = time.monotonic() + WAIT_S
    while stray.exists():
        assert time.monotonic() < deadline, "never swept"
        time.sleep(0.02)


def test_shared_memory_without_room_ends_a_version_and_the_next_one_comes_when_there_is_room(
    loaded: Loaded, reports: Applied
) -> None:
    """The kernel gives the slots no pages; the agent says so, lives, and its workers keep what they map."""
    loaded.agent.kill()
    remove_stale_pools()
    agent = loaded.host(largest_file=64 << 10)
    version = loaded.publish()
    assert "no shared memory for" in reports.expect("FAILED", version).error
    loaded.goes_on()
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    psutil.Process(agent.process.pid).rlimit(psutil.RLIMIT_FSIZE, unlimited)
    loaded.serves(loaded.publish())
