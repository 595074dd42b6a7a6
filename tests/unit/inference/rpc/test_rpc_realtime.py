"""A priority that was asked for and is not permitted is an error, not something to find out under load."""

from pathlib import Path

import pytest

from headrace.runtime.access.edge import Edge
from headrace.runtime.endpoints import EndpointFile
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Readiness, Stop
from headrace.runtime.logging import get_logger
from services.inference.rpc import app
from services.inference.rpc.settings import RpcSettings


def test_realtime_that_is_not_permitted_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "use_realtime", lambda: False)
    settings = RpcSettings(run_dir=tmp_path, realtime=True).for_role("rpc")
    context = Context(
        "rpc",
        settings,
        Stop(),
        Readiness(),
        get_logger("test"),
        Edge(settings, "test"),
        EndpointFile(tmp_path, "rpc", "r"),
    )
    with pytest.raises(ConfigError, match="real-time priority") as refused:
        app.build_rpc(context)
    assert "CAP_SYS_NICE" in refused.value.hint
