"""The role `gateway`, composed."""

import asyncio

import httpx
from fastapi import FastAPI

from headrace.contracts.topics import PREDICTIONS, SHADOWS
from headrace.model.spec import PipelineSpec
from headrace.model.spec_file import load_spec
from headrace.runtime.access.edge import call_context, call_headers
from headrace.runtime.endpoints import read_endpoints
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop
from headrace.runtime.web import WebServer
from services.gateway.fanout import Fanout
from services.gateway.feed import Feed
from services.gateway.kafka import SinkReader
from services.gateway.live.board import Board
from services.gateway.live.rest import add_live
from services.gateway.live.sections import FLOW, Sections
from services.gateway.models import Models
from services.gateway.operating.rest import Operating, add_operating
from services.gateway.passing.prefixes import PREFIXES
from services.gateway.passing.proxy import Passing, add_passing
from services.gateway.rest import Gateway, create_app
from services.gateway.service import Predictions
from services.gateway.settings import GatewaySettings
from services.gateway.status import Status
from services.gateway.upstream import Resolve, Upstream, resolver

_TIMEOUTS = httpx.Timeout(None, connect=1.0)  # `Upstream` limits a whole call


class GatewayApp:
    """The role `gateway`."""

    def __init__(self, context: Context[GatewaySettings], spec: PipelineSpec) -> None:
        self._context, self._settings = context, context.settings
        settings, run, pipeline = self._settings, self._settings.run_folder, spec.name
        self._client = httpx.AsyncClient(
            timeout=_TIMEOUTS,
            verify=call_context(settings),
            headers=call_headers(settings),
            limits=httpx.Limits(max_connections=256, max_keepalive_connections=64),
        )
        # Its own client: uploads and streams hold connections for long, for which predictions must not wait.
        self._passing = httpx.AsyncClient(
            timeout=_TIMEOUTS, verify=call_context(settings), limits=httpx.Limits(max_connections=1024)
        )
        self._feeds = {"predictions": self._feed(PREDICTIONS.name(pipeline))}
        if spec.has_shadows:
            self._feeds["shadows"] = self._feed(SHADOWS.name(pipeline))
        models = Upstream(
            "rpc", resolver(settings.inference_urls, run, "rpc"), settings.predict_timeout_s, self._client
        )
        ingest = Upstream(
            "ingest", resolver(settings.ingest_urls, run, "ingest"), settings.ingest_timeout_s, self._client
        )
        status = Status(pipeline, lambda: read_endpoints(run), self._resolver("monitor"), self._client)
        self._gateway = Gateway(
            Models(spec),
            Predictions(pipeline, models),
            ingest,
            self._feeds,
            status,
            max_request_bytes=settings.max_request_bytes,
        )
        sections = Sections(settings, pipeline, status, self._resolver, self._client)
        self._board = Board(sections, always=[FLOW], max_pages=settings.max_pages)
        context.ready.declare("rest")

    def _resolver(self, role: str) -> Resolve:
        """What gives a role's REST addresses: a setting, or the run folder, which is read at each request."""
        fixed = {**self._settings.role_urls}
        if self._settings.monitor_urls:
            fixed["monitor"] = self._settings.monitor_urls
        return resolver(fixed.get(role, ""), self._settings.run_folder, role)

    def _app(self) -> FastAPI:
        settings = self._settings
        passing = [
            (one, Passing(one.role, self._resolver(one.role), self._passing, settings.max_passed_bytes))
            for one in PREFIXES
        ]
        operating = Operating(settings, self._gateway)
        return create_app(
            self._gateway,
            lambda app: add_live(app, self._board),
            lambda app: add_operating(app, operating),
            lambda app: add_passing(app, passing),
        )

    def _feed(self, topic: str) -> Feed:
        settings = self._settings
        fanout = Fanout(settings.subscriber_events, settings.max_subscribers)
        return Feed(lambda: SinkReader(settings, topic), fanout, max_replays=settings.max_replays)

    async def run(self, stop: Stop) -> None:
        """Answer requests until `stop` is set; then finish those in progress and end the streams."""
        rest = WebServer(
            self._app(), self._settings.host, self._settings.rest_port, websockets=True, edge=self._context.edge
        )
        serving = asyncio.create_task(rest.serve())
        self._board.start()
        self._context.publish_endpoint("rest", rest.url)
        self._context.ready.set("rest", True, rest.url)  # noqa: FBT003 - the value is the point
        self._context.log.info("listening", transport="rest", address=rest.url)
        stopped = asyncio.create_task(stop.waited())
        try:
            await asyncio.wait([stopped, serving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            for feed in self._feeds.values():
                await feed.close()
            await self._board.stop()
            rest.stop()
            await serving
            await self._client.aclose()
            await self._passing.aclose()


def build(context: Context[GatewaySettings]) -> GatewayApp:
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, or its pipeline.yaml cannot be read.
    """
    if context.settings.pipeline is None:
        raise ConfigError("gateway: no pipeline", hint="--pipeline FOLDER")
    return GatewayApp(context, load_spec(context.settings.pipeline))
