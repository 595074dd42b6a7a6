"""What is traced, by OpenTelemetry's own variables and its own decisions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import sampling as sdk
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from structlog.testing import capture_logs

from headrace.runtime.tracing import Sampling, TraceContext, parse

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


def of(sampler: str, argument: str = "") -> Sampling:
    return Sampling.of({"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument})


def test_by_default_the_caller_decides_and_whatever_has_none_is_traced() -> None:
    sampling = Sampling.of({})
    assert sampling.decide(SAMPLED) == TraceContext(int(TRACE, 16), int(SPAN, 16), sampled=True)
    assert sampling.decide(UNSAMPLED) is None
    root = sampling.decide()
    assert root is not None
    assert (root.span_id, root.trace_id == int(TRACE, 16)) == (0, False)


@pytest.mark.parametrize(
    ("sampler", "of_sampled", "of_unsampled", "of_none"),
    [
        ("always_on", True, True, True),
        ("always_off", False, False, False),
        ("parentbased_always_on", True, False, True),
        ("parentbased_always_off", True, False, False),
        ("PARENTBASED_ALWAYS_OFF", True, False, False),
        ("parentbased_traceidratio", True, False, False),
        ("traceidratio", False, False, False),
    ],
)
def test_every_sampler_of_the_specification_is_known(
    sampler: str, of_sampled: bool, of_unsampled: bool, of_none: bool
) -> None:
    sampling = of(sampler, "0.0" if "ratio" in sampler else "")
    decided = [sampling.decide(header) is not None for header in (SAMPLED, UNSAMPLED, "")]
    assert decided == [of_sampled, of_unsampled, of_none]


@given(st.integers(1, (1 << 128) - 1), st.floats(0, 1), st.booleans(), st.sampled_from(["", "parentbased_"]))
def test_a_share_is_the_same_traces_as_opentelemetry_would_choose(
    trace_id: int, share: float, sampled: bool, prefix: str
) -> None:
    ratio = sdk.TraceIdRatioBased(share)
    theirs: Any = sdk.ParentBased(ratio) if prefix else ratio
    flags = TraceFlags(TraceFlags.SAMPLED if sampled else 0)
    parent = set_span_in_context(NonRecordingSpan(SpanContext(trace_id, 1, is_remote=True, trace_flags=flags)))
    ours = of(f"{prefix}traceidratio", repr(share))

    decided = ours.decide(f"00-{trace_id:032x}-{1:016x}-{int(sampled):02x}")

    assert (decided is not None) == theirs.should_sample(parent, trace_id, "x").decision.is_sampled()


def test_a_share_of_the_traces_without_a_caller_is_sampled() -> None:
    sampling = of("parentbased_traceidratio", "0.25")
    found = [one for one in (sampling.decide() for _ in range(4000)) if one is not None]
    assert 800 < len(found) < 1200
    assert all(one.trace_id & ((1 << 64) - 1) < 1 << 62 for one in found)


@given(st.one_of(st.text(max_size=70), st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.)?")))
def test_a_traceparent_is_what_opentelemetry_takes_for_one(header: str) -> None:
    from opentelemetry.trace import get_current_span

    theirs = get_current_span(TraceContextTextMapPropagator().extract({"traceparent": header})).get_span_context()
    ours = parse(header)
    assert (ours is not None) == theirs.is_valid
    if ours is not None:
        assert (ours.trace_id, ours.span_id, ours.sampled) == (
            theirs.trace_id,
            theirs.span_id,
            bool(theirs.trace_flags & 1),
        )


@pytest.mark.parametrize(
    ("environ", "share"),
    [
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "nan"}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "x"}, 1.0),
    ],
)
def test_a_value_that_is_none_is_logged_and_the_default_used(environ: dict[str, str], share: float) -> None:
    with capture_logs() as lines:
        assert Sampling.of(environ).share == share
    assert len(lines) == 1
    assert lines[0]["log_level"] == "warning"


def test_it_can_be_switched_off_and_on_and_its_share_changed_while_it_runs() -> None:
    sampling = Sampling()
    sampling.on = False
    assert sampling.decide(SAMPLED) is None
    sampling.on, sampling.share = True, 0.0
    assert sampling.decide(SAMPLED) is not None
    assert sampling.decide() is None
