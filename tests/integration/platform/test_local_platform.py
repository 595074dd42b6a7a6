"""The embedded platform on real processes.

Ready means answering, stopped means gone, and every failure says what to do.
"""

import http.server
import json
import socket
import threading

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from redis import Redis

from headrace.platform import LocalPlatform, external, process
from headrace.runtime.errors import PlatformError
from tests.patience import WAIT_S

NOTHING_NAMED: dict[str, str] = {}


def embedded(folder, **more):
    return LocalPlatform(folder, env=NOTHING_NAMED, **more)


def processes(platform):
    return [server.process for server in platform.status().servers]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A platform of this module's own, to be killed and restarted."""
    with embedded(tmp_path_factory.mktemp("own")) as started:
        yield started


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_both_servers_answer_and_the_state_says_where(own):
    admin = AdminClient({"bootstrap.servers": own.endpoints.kafka_bootstrap_servers})
    assert len(admin.list_topics(timeout=WAIT_S).brokers) == 1
    with Redis.from_url(own.endpoints.redis_url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    status = own.status()
    assert status.ready
    assert [(s.name, s.state, s.process.alive()) for s in status.servers] == [
        ("kafka", "running", True),
        ("redis", "running", True),
    ]
    assert own.endpoints.as_env() == {
        "KAFKA_BOOTSTRAP_SERVERS": status.address("kafka"),
        "REDIS_URL": status.address("redis"),
    }


def test_a_run_folder_in_use_is_refused(own):
    with pytest.raises(PlatformError, match="is in use by process"):
        embedded(own.folder.parent).start()
    own.check()


def test_a_broker_that_died_is_reported_with_its_log_and_comes_back_with_its_records(own):
    address = own.endpoints.kafka_bootstrap_servers
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(WAIT_S)
    producer = Producer({"bootstrap.servers": address})
    producer.produce("kept", b"record")
    assert producer.flush(WAIT_S) == 0

    own.kafka.kill()
    with pytest.raises(PlatformError, match=r"(?s)Kafka died with exit code -9; .*kafka\.log ends:\n.*INFO"):
        own.check()

    assert own.restart_kafka() > 0
    own.check()
    assert own.kafka.address == address
    reader = Consumer({"bootstrap.servers": address, "group.id": "kept", "enable.auto.commit": False})
    reader.assign([TopicPartition("kept", 0, 0)])
    assert reader.poll(15).value() == b"record"
    reader.close()


def test_stopped_means_gone_and_started_again_offline_everything_is_there(tmp_path, monkeypatch, closed_port):
    with embedded(tmp_path) as platform:
        first = platform.endpoints
        admin = AdminClient({"bootstrap.servers": first.kafka_bootstrap_servers})
        admin.create_topics([NewTopic("kept", 2, 1)])["kept"].result(WAIT_S)
        ran = processes(platform)
    assert not any(process.alive() for process in ran)
    assert {"kafka", "kafka.log", "redis.log", "server.properties", "state.json"} <= {
        p.name for p in platform.folder.iterdir()
    }

    monkeypatch.setenv("HEADRACE_MAVEN_URL", f"http://127.0.0.1:{closed_port}")
    with embedded(tmp_path) as again:
        assert again.endpoints == first
        topics = AdminClient({"bootstrap.servers": first.kafka_bootstrap_servers}).list_topics(timeout=WAIT_S).topics
        assert len(topics["kept"].partitions) == 2


def test_a_broker_that_cannot_start_says_why_and_takes_nothing_with_it(tmp_path):
    platform = embedded(tmp_path, kafka_config={"num.io.threads": "many"})
    with pytest.raises(
        PlatformError, match=r"(?s)Kafka died at start; .*Invalid value many for configuration num\.io\.threads"
    ):
        platform.start()
    assert processes(platform) == [None, None]
    with pytest.raises(PlatformError, match="is not started"):
        _ = platform.endpoints


@pytest.mark.parametrize("server", ["kafka", "redis"])
def test_a_taken_port_is_an_error_that_names_it(tmp_path, server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        platform = embedded(tmp_path, **{f"{server}_port": port})
        with pytest.raises(PlatformError, match=f"port {port} is taken"):
            platform.start()
    assert processes(platform) == [None, None]


def test_without_network_and_cache_the_error_says_so(tmp_path, monkeypatch, closed_port):
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HEADRACE_MAVEN_URL", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(PlatformError, match="cannot fetch") as raised:
        embedded(tmp_path / "run").start()
    assert "KAFKA_BOOTSTRAP_SERVERS" in raised.value.hint


def test_a_jar_that_is_not_the_reviewed_one_is_refused(tmp_path, monkeypatch):
    class Impostor(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"not what was asked for")

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Impostor)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("HEADRACE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HEADRACE_MAVEN_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        with pytest.raises(PlatformError, match=r"has digest sha256:\w+, expected sha256:\w+"):
            embedded(tmp_path / "run").start()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert not list((tmp_path / "cache").rglob("*.jar"))


def test_what_is_named_is_used_and_nothing_is_started(own, tmp_path):
    with LocalPlatform(tmp_path, env=own.endpoints.as_env()) as named:
        assert named.endpoints == own.endpoints
        assert [(s.state, s.process) for s in named.status().servers] == [("external", None), ("external", None)]
    own.check()


@pytest.fixture(scope="module")
def with_password(tmp_path_factory):
    """The address of a broker's listener that asks for user and password."""
    plain, controller, asking = (process.free_port() for _ in range(3))
    config = {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},ASKING://127.0.0.1:{asking}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},ASKING://127.0.0.1:{asking}",
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,ASKING:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.asking.plain.sasl.jaas.config": (
            'org.apache.kafka.common.security.plain.PlainLoginModule required user_me="right";'
        ),
    }
    with embedded(tmp_path_factory.mktemp("password"), kafka_port=plain, kafka_config=config):
        yield f"127.0.0.1:{asking}"


def test_a_named_kafka_is_asked_as_the_roles_will_ask_it(with_password, own, tmp_path, monkeypatch):
    monkeypatch.setattr(external, "ANSWER_TIMEOUT_S", 3.0)

    def named():
        return LocalPlatform(
            tmp_path, kafka_bootstrap_servers=with_password, redis_url=own.endpoints.redis_url, env=NOTHING_NAMED
        )

    monkeypatch.delenv("HEADRACE_KAFKA_CONFIG", raising=False)
    with pytest.raises(PlatformError, match="no Kafka answers"):
        named().start()
    sasl = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "me"}
    monkeypatch.setenv("HEADRACE_KAFKA_CONFIG", json.dumps({**sasl, "sasl.password": "wrong"}))
    with pytest.raises(PlatformError, match="no Kafka answers"):
        named().start()
    monkeypatch.setenv("HEADRACE_KAFKA_CONFIG", json.dumps({**sasl, "sasl.password": "right"}))
    with named() as platform:
        assert platform.endpoints.kafka_bootstrap_servers == with_password


@pytest.mark.parametrize("name", ["kafka", "redis"])
def test_a_named_server_that_does_not_answer_is_an_error(tmp_path, monkeypatch, closed_port, name):
    monkeypatch.setattr(external, "ANSWER_TIMEOUT_S", 1.0)
    address = f"127.0.0.1:{closed_port}"
    wrong = {"kafka_bootstrap_servers": address} if name == "kafka" else {"redis_url": f"redis://{address}/0"}
    with pytest.raises(PlatformError, match=f"(?i)no {name} answers"):
        embedded(tmp_path, **wrong).start()
