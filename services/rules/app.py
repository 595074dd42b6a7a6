"""The role `rules`, composed: Kafka, the fleet, HTTP, the rules, and REST."""

import asyncio
from contextlib import AsyncExitStack

import httpx

from headrace.contracts.topics import system_topics
from headrace.model.spec import PipelineSpec
from headrace.model.spec_file import load_spec
from headrace.rules.effects.port import World
from headrace.runtime import kafka
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context, Stop, until_stopped
from headrace.runtime.web import WebServer
from services.rules.clients import Outside, Roles, TrainJobs, monitor_errors, secret_in
from services.rules.fleet import KafkaFleet
from services.rules.kafka import LabelEnds, RulesLog, TriggerFeed
from services.rules.programs import Processes
from services.rules.rest import create_app
from services.rules.service import Rules
from services.rules.settings import RulesSettings

POLL_S = 0.2
_HTTP_S = 30.0


def build(context: Context[RulesSettings]) -> "RulesApp":
    """Make the role from its settings.

    Raises:
        ConfigError: no pipeline was named, or its pipeline.yaml is wrong.
    """
    if context.settings.pipeline is None:
        raise ConfigError("rules: no pipeline", hint="--pipeline FOLDER")
    return RulesApp(context, load_spec(context.settings.pipeline))


class RulesApp:
    """Runs the rules of one pipeline: one such role a pipeline, a second one fences the first."""

    def __init__(self, context: Context[RulesSettings], spec: PipelineSpec) -> None:
        self._context, self._settings, self._spec = context, context.settings, spec
        context.ready.declare("log", "rest")
        self._log = RulesLog(self._settings, spec.name)
        self._feed = TriggerFeed(self._settings, spec.name)

    async def run(self, stop: Stop) -> None:
        """Run rules until stopped; what is being done then goes on with the next start.

        Raises:
            FencedError: another role of the pipeline has taken over.
            DependencyError: Kafka fails.
        """
        await asyncio.to_thread(kafka.ensure_topics, self._settings, system_topics())
        async with AsyncExitStack() as stack:
            stack.callback(self._feed.close)
            client = await stack.enter_async_context(httpx.AsyncClient(timeout=_HTTP_S, trust_env=False))
            fleet = KafkaFleet(self._settings)
            stack.push_async_callback(fleet.close)
            await fleet.open()
            await self._serve(stop, stack, client, fleet)

    async def _serve(self, stop: Stop, stack: AsyncExitStack, client: httpx.AsyncClient, fleet: KafkaFleet) -> None:
        settings, folder = self._settings, self._settings.storage_folder / "rules"
        roles = Roles(settings.run_folder, {"train": settings.train_url, "monitor": settings.monitor_url})
        outside = Outside(client, await asyncio.to_thread(secret_in, folder))
        programs = Processes((settings.pipeline or folder).resolve(), folder / "logs")
        world = World(TrainJobs(roles, client), fleet, outside, programs)
        rules = Rules(self._spec.name, self._spec.rules, self._log, world, keep=settings.keep_runs)
        stack.push_async_callback(rules.close)
        web = WebServer(create_app(rules, outside.token), settings.host, settings.rest_port, edge=self._context.edge)
        outside.address = settings.callback_url or web.url
        # Others are fenced first: what they have recorded is then final, and read to its end.
        recovered = await asyncio.to_thread(self._log.open)
        await rules.begin(await asyncio.to_thread(self._feed.open, recovered.positions))
        rules.restore(recovered.runs, recovered.memories)
        self._context.ready.set("log", ok=True, detail=f"{len(recovered.runs)} runs")
        serving = asyncio.ensure_future(web.serve())
        self._context.publish_endpoint("rest", web.url)
        self._context.ready.set("rest", ok=True, detail=web.url)
        self._context.log.info("rules", pipeline=self._spec.name, rules=list(rules.rules), rest=web.url)
        figures, failed = self._watch_figures(rules, roles, client), asyncio.shield(rules.failure)
        try:
            await until_stopped(stop, self._watch_topics(rules), figures, fleet.run(), failed)
        finally:
            web.stop()
            await serving

    async def _watch_topics(self, rules: Rules) -> None:
        """Take what may be triggers as it comes."""
        while True:
            taken = await asyncio.to_thread(self._feed.poll, POLL_S)
            await rules.on_records(taken.records, taken.positions)

    async def _watch_figures(self, rules: Rules, roles: Roles, client: httpx.AsyncClient) -> None:
        """Look at errors, labels and the clock every now and then."""
        conditions = [when for rule in rules.rules.values() for when in rule.when]
        counts, judges = (any(getattr(when, kind) is not None for when in conditions) for kind in ("labels", "error"))
        ends = LabelEnds(self._settings, self._spec.name)
        try:
            while True:
                labels = await asyncio.to_thread(ends.total) if counts else None
                errors = await monitor_errors(roles, client) if judges else {}
                await rules.on_figures(labels, errors)
                await asyncio.to_thread(self._log.poll)
                await asyncio.sleep(self._settings.poll_s)
        finally:
            ends.close()
