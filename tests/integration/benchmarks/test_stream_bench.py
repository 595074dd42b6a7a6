"""The stream's benchmark on a tiny load: that it measures, not what."""

from pathlib import Path

import pytest

from benchmarks.stream.backlog import SINK, SOURCE, create_topics, fill
from benchmarks.stream.contestants import BARE, OURS
from benchmarks.stream.latency import latencies
from benchmarks.stream.race import race
from benchmarks.stream.terms import Terms
from headrace.runtime.settings import ServiceSettings
from tests.conftest import Kafka


@pytest.fixture
def settings(kafka: Kafka, tmp_path: Path) -> ServiceSettings:
    """Of the benchmark's own process, its topics there."""
    made = ServiceSettings(kafka_bootstrap_servers=kafka.bootstrap_servers, run_dir=tmp_path).for_role("bench")
    create_topics(made)
    return made


def test_race_watches_the_bare_loop_to_the_end_of_the_backlog(kafka: Kafka, settings: ServiceSettings) -> None:
    """One committed prediction for each event, which `race` itself counts."""
    fill(settings, 4000)
    samples = race(BARE, settings, Terms(kafka.bootstrap_servers, SOURCE, SINK, kafka.unique("bench")), 4000)
    assert samples[-1].done == 4000
    assert samples[-1].cpu_s > 0
    assert samples[-1].rss_bytes > 0


def test_latencies_of_the_stream_count_every_event(kafka: Kafka, settings: ServiceSettings) -> None:
    """What was offered after the warm-up was read, and percentiles are in order."""
    terms = Terms(kafka.bootstrap_servers, SOURCE, SINK, kafka.unique("bench"))
    (found,) = latencies(OURS, settings, terms, rates=[500], seconds=0.5, warm_up_s=0.5)
    assert found.read == found.offered > 200
    assert 0 < found.p50 <= found.p99 <= found.p999 <= found.worst
