"""A committed round has a span with links to the sampled events in it; others have none, and none changes a round."""

from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from structlog.testing import capture_logs

from headrace.contracts.topics import EVENTS, PREDICTIONS
from headrace.runtime.tracing import Sampling
from headrace.runtime.tracing.spans import Tracing
from headrace.streams.chunks import Chunk
from headrace.streams.delivery import Batch, Output
from headrace.streams.memory import memory_chunk
from services.inference.stream.spans import MOST_LINKS, RoundSpans

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = (f"00-{TRACE}-{SPAN}-0{flag}".encode() for flag in (1, 0))


class World:
    def __init__(self, sampling: Sampling | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        tracing = Tracing(sampling or Sampling(), SimpleSpanProcessor(self._exporter), {})
        self.spans = RoundSpans(tracing, "flights", lambda: 7)
        self.traces: Sequence[bytes | None] = ()
        self.process = self.spans.around(self._process)

    def _process(self, chunks: Sequence[Chunk]) -> Output:
        output = Output.of(chunks)
        headers: Any = [None if trace is None else [("traceparent", trace)] for trace in self.traces]
        output.batches.append(Batch(PREDICTIONS.name("flights"), 0, [], headers if any(self.traces) else None))
        return output

    def round(self, *traces: bytes | None, offset: int = 0) -> Output:
        self.traces = traces
        values = [b"{}"] * len(traces)
        return self.process([memory_chunk(values, topic=EVENTS.name("flights"), partition=3, first_offset=offset)])

    def written(self) -> list[Any]:
        return [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.CONSUMER]

    def below(self, span: Any) -> list[str]:
        found = self._exporter.get_finished_spans()
        return [one.name for one in found if one.parent and one.parent.span_id == span.context.span_id]


def test_a_round_has_a_span_that_links_to_the_sampled_events_in_it() -> None:
    world = World()
    output = world.round(None, SAMPLED, UNSAMPLED, b"nonsense", None)
    assert world.written() == [], "before it is committed"
    world.spans.delivered(output)

    [span] = world.written()
    assert span.name == "predict flights.events"
    assert [(f"{li.context.trace_id:032x}", f"{li.context.span_id:016x}") for li in span.links] == [(TRACE, SPAN)]
    assert f"{span.context.trace_id:032x}" != TRACE
    said = dict(span.attributes)
    assert (said["headrace.version"], said["messaging.batch.message_count"]) == ("7", 5)
    assert said["headrace.next_offsets"] == "3:5"
    assert world.below(span) == ["compute", "commit"]


@pytest.mark.parametrize("traces", [[None, None], [UNSAMPLED], [b"nonsense-00"], [b"\xff"]])
def test_a_round_without_a_sampled_event_has_none(traces: list[bytes | None]) -> None:
    world = World()
    world.spans.delivered(world.round(*traces))
    assert world.written() == []


def test_the_sampler_may_decide_whatever_the_caller_did() -> None:
    for sampler, links in (("always_on", 2), ("always_off", 0), ("parentbased_always_off", 1)):
        world = World(Sampling(sampler))
        world.spans.delivered(world.round(SAMPLED, UNSAMPLED))
        assert sum(len(span.links) for span in world.written()) == links


def test_a_round_that_was_aborted_has_none_and_is_forgotten() -> None:
    world = World()
    world.round(SAMPLED)
    again = world.round(SAMPLED, SAMPLED)
    later = world.round(SAMPLED, offset=2)
    world.spans.delivered(again)
    world.spans.delivered(later)
    assert [len(span.links) for span in world.written()] == [2, 1]
    assert world.spans._rounds == []


def test_links_are_bounded() -> None:
    world = World()
    world.spans.delivered(world.round(*[SAMPLED] * 1000))
    assert [len(span.links) for span in world.written()] == [MOST_LINKS]


def test_a_span_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError("no room")

    world = World()
    monkeypatch.setattr(Tracing, "write", fails)
    with capture_logs() as lines:
        world.spans.delivered(world.round(SAMPLED))
    assert [line["event"] for line in lines] == ["a round's span could not be written"]
