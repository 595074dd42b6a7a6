"""The role `stream`, traced to a collector, on a real broker."""

import pytest

from tests.otlp_collector import collecting, plain
from tests.patience import WAIT_S
from tests.stream_kit import WELL, PipelineRun, wait_for

SAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00"


@pytest.fixture
def river(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path) as made:
        yield made


def test_a_round_links_to_the_sampled_events_in_it_and_every_event_is_predicted_once(river):
    with collecting("grpc") as collector:
        river.produce(range(1000), headers=[("traceparent", UNSAMPLED.encode())])
        river.produce(range(1000, 1010), headers=[("traceparent", SAMPLED.encode())])
        river.produce(range(1010, 2000))
        worker = river.worker(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"})
        assert river.read(2000).verdict(river.produced) == WELL, river.logs()
        wait_for(lambda: sum(len(s.links) for s in collector.spans) >= 10, WAIT_S, "no span of the sampled events")
        assert worker.stop() == 0

    rounds = [span for span in collector.spans if span.name.startswith("predict ")]
    links = [link for span in rounds for link in span.links]
    assert {link.trace_id.hex() for link in links} == {SAMPLED.split("-")[1]}
    assert len(links) == 10
    assert all(plain(span)["headrace.version"] == "1" for span in rounds)
    assert {one.name for one in collector.spans if one.parent_span_id} == {"compute", "commit"}
    assert {resource["service.name"] for resource in collector.resources} == {"headrace-stream"}
