"""The protocol's trace settings, where requests are traced and where they are not."""

from typing import Any

import pytest

from headrace.runtime.tracing import Sampling
from services.inference.oip.diagnostics import TraceSettings
from services.inference.oip.messages import InvalidRequest, Unsupported

FIRST = {"trace_level": ["TIMESTAMPS"], "trace_rate": "4", "trace_mode": "opentelemetry"}


def traced() -> tuple[Sampling, TraceSettings]:
    sampling = Sampling("parentbased_traceidratio", 0.25)
    return sampling, TraceSettings(sampling)


def test_the_settings_are_those_of_the_environment() -> None:
    told = traced()[1].update({})
    assert told | FIRST == told
    assert TraceSettings(Sampling("always_off")).update({})["trace_rate"] == "0"
    assert TraceSettings().update({})["trace_level"] == ["OFF"]


@pytest.mark.parametrize(
    ("wanted", "on", "share"),
    [
        ({"trace_rate": "100"}, True, 0.01),
        ({"trace_rate": 1}, True, 1.0),
        ({"trace_rate": "0"}, True, 0.0),
        ({"trace_level": ["OFF"]}, False, 0.25),
        ({"trace_level": "OFF", "trace_rate": "2"}, False, 0.5),
    ],
)
def test_level_and_rate_may_be_changed_and_brought_back(wanted: dict[str, Any], on: bool, share: float) -> None:
    sampling, settings = traced()
    told = settings.update(wanted)
    assert (sampling.on, sampling.share) == (on, share)
    assert told["trace_level"] == ["TIMESTAMPS" if on else "OFF"]
    assert settings.update(dict.fromkeys(wanted)) == settings.update({}) == traced()[1].update({})
    assert (sampling.on, sampling.share) == (True, 0.25)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"trace_level": ["TENSORS"]}, InvalidRequest),
        ({"trace_level": 1}, InvalidRequest),
        ({"trace_rate": "-1"}, InvalidRequest),
        ({"trace_rate": True}, InvalidRequest),
        ({"trace_rate": "9" * 40}, InvalidRequest),
        ({"trace_rate": "2", "trace_file": "/tmp/x"}, Unsupported),
        ({"trace_rate": "2", "trace_count": "5"}, Unsupported),
        ({"nothing_of_that_name": "x"}, Unsupported),
    ],
)
def test_what_cannot_be_changed_is_refused_and_changes_nothing(wanted: dict[str, Any], error: type[Exception]) -> None:
    sampling, settings = traced()
    with pytest.raises(error):
        settings.update(wanted)
    assert (sampling.on, sampling.share) == (True, 0.25)


def test_values_as_they_are_change_nothing_and_are_no_error() -> None:
    _, settings = traced()
    told = settings.update({})
    assert settings.update(told) == told
    untraced = TraceSettings().update({})
    assert TraceSettings().update(untraced) == untraced


@pytest.mark.parametrize("wanted", [{"trace_level": ["TIMESTAMPS"]}, {"trace_rate": "2"}])
def test_where_no_collector_is_named_nothing_can_be_changed(wanted: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="names no collector"):
        TraceSettings().update(wanted)
