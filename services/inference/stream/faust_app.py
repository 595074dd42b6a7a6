"""The role `stream` under Faust's own command line, for those who already run Faust apps.

    export HEADRACE_PIPELINE=examples/rides KAFKA_BOOTSTRAP_SERVERS=...
    faust -A services.inference.stream.faust_app worker --without-web

Settings come from the environment (`HEADRACE_*`), since the command line is Faust's. Everything else is as in the role:
weights from the host's agent, transactions, dead letters, metrics on the ops port. The app is composed when Faust asks
for it, not when the module is imported.
"""

from functools import cache

from headrace.runtime.access.edge import Edge
from headrace.runtime.endpoints import EndpointFile
from headrace.runtime.lifecycle import Context, Readiness, Stop
from headrace.runtime.logging import get_logger
from headrace.runtime.ops import OpsServer
from headrace.runtime.settings import load
from headrace.streams.app import ChunkApp
from headrace.weights import WeightsSource
from services.inference.stream.app import StreamApp, build_stream
from services.inference.stream.settings import StreamSettings

ROLE = "stream"


def faust_app(weights: WeightsSource | None = None) -> ChunkApp:
    """The role's app with its ops server, both for Faust to start and stop. Tests pass their own `weights`.

    Raises:
        ConfigError: the environment names no pipeline, or one that cannot be loaded.
        DependencyError: the broker does not answer, or lacks the pipeline's topics.
    """
    settings = load(StreamSettings, ROLE)
    ready, endpoints = Readiness(), EndpointFile(settings.run_folder, ROLE, settings.instance)
    edge = Edge(settings, ROLE)
    ops = OpsServer(settings.ops_host or settings.host, settings.ops_port, ready.state, edge.may_read)
    context = Context(ROLE, settings, Stop(), ready, get_logger(f"headrace.{ROLE}"), edge, endpoints)
    stream = build_stream(context, weights)
    if not isinstance(stream, StreamApp):
        raise TypeError(f"the role {ROLE} is not a Faust app but a {type(stream)}")
    app = stream.for_faust()

    def begin() -> None:
        edge.start()
        ops.start()
        endpoints.add("ops", ops.url)

    def end() -> None:
        endpoints.remove()
        ops.stop()
        edge.stop()

    app.during(begin, end)
    return app


@cache
def _app() -> ChunkApp:
    return faust_app()


def __getattr__(name: str) -> ChunkApp:
    """`app`, which `faust -A` looks for."""
    if name == "app":
        return _app()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
