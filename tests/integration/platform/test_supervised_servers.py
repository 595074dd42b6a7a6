"""The embedded servers under a supervisor: killed, they come back at their address, and roles wait for that."""

import signal
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from headrace.launch.specs import RestartPolicy, RoleSpec, StartWave, State
from headrace.launch.supervisor import Supervisor
from headrace.platform import LocalPlatform
from tests.patience import WAIT_S

CHILDREN = Path(__file__).parents[2] / "unit" / "launch"


@pytest.fixture
def platform(tmp_path):
    with LocalPlatform(tmp_path, env={}) as started:
        yield started


@pytest.fixture
def supervisor(platform, tmp_path):
    with Supervisor(tmp_path, policy=RestartPolicy(base_s=0, good_life_s=0, give_up=3)) as made:
        made.watch(platform)
        made.wait_ready(timeout=WAIT_S)
        yield made


def kill(supervisor, server):
    """SIGKILL; returns once it is ready again."""
    dead = supervisor.status(server).pid
    supervisor.send(server, signal.SIGKILL)
    assert supervisor.wait_for(lambda: supervisor.status(server).pid not in (None, dead), WAIT_S)
    supervisor.wait_ready(server, timeout=WAIT_S)


def test_killed_servers_come_back_at_their_address_and_the_broker_has_its_records(platform, supervisor):
    kafka, url = platform.endpoints.kafka_bootstrap_servers, platform.endpoints.redis_url
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(WAIT_S)
    producer = Producer({"bootstrap.servers": kafka, "acks": "all"})
    producer.produce("kept", b"before")
    assert producer.flush(WAIT_S) == 0

    for times in (1, 2):
        kill(supervisor, "redis")
        assert redis.Redis.from_url(url).set("key", "value")
        kill(supervisor, "kafka")
        assert [supervisor.restart_count(name) for name in ("kafka", "redis")] == [times, times]
    assert (platform.kafka.address, platform.redis.address) == (kafka, url)
    assert {s.name: s.process.pid for s in platform.status().servers} == {
        s.instance: s.pid for s in supervisor.statuses()
    }

    producer.produce("kept", b"after")  # by the same client, which found the broker again
    assert producer.flush(WAIT_S) == 0
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "g"})
    consumer.assign([TopicPartition("kept", 0, 0)])
    assert [record.value() for record in consumer.consume(2, WAIT_S)] == [b"before", b"after"]
    consumer.close()


def test_while_a_server_is_away_a_role_waits_and_its_failures_do_not_count(platform, supervisor, tmp_path):
    """A stopped broker answers nobody; a role that dies then is started once it answers again."""
    role = RoleSpec("a", "supervised_child", "serve", ["serve"], env={"PYTHONPATH": str(CHILDREN)})
    supervisor.start([StartWave([role])])
    supervisor.wait_ready(timeout=WAIT_S)

    taken = platform.kafka.port
    supervisor.send("kafka", signal.SIGKILL)
    assert supervisor.wait_for(lambda: supervisor.status("kafka").state is not State.READY, WAIT_S)
    supervisor.send("a", signal.SIGKILL)
    assert supervisor.wait_for(lambda: "waits for kafka" in supervisor.status("a").detail, WAIT_S)
    supervisor.wait_ready(timeout=WAIT_S)
    assert platform.kafka.port == taken
    assert supervisor.restart_count("a") == 1
    assert (tmp_path / "history").read_text() == "started a\nstarted a\n"


def test_a_supervisor_stops_servers_in_order(tmp_path):
    with LocalPlatform(tmp_path, env={}) as platform:
        with Supervisor(tmp_path) as supervisor:
            supervisor.watch(platform)
            supervisor.wait_ready(timeout=WAIT_S)
        assert {s.instance: (s.state, s.exit_code) for s in supervisor.statuses()} == {
            "kafka": (State.STOPPED, 128 + signal.SIGTERM),
            "redis": (State.STOPPED, 0),
        }
        assert [s.state for s in platform.status().servers] == ["stopped", "stopped"]
