"""Composition of the roles of inference: what is made, and what it is made of. Tests pass their own `weights`."""

from typing import TYPE_CHECKING

import torch

from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import App, Context
from headrace.runtime.scheduling import come_first, wake_quickly
from headrace.weights import LiveWeights, StaticWeights, WeightsSource, agent_socket
from services.inference.settings import InferenceSettings, RpcSettings, StreamSettings
from services.inference.warm_up import Rehearsal

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from headrace.weights import Bound


def load(settings: InferenceSettings, role: str) -> Pipeline:
    """The pipeline that the settings name, with torch set up for serving.

    Raises:
        ConfigError: no pipeline was named, or it cannot be loaded.
    """
    if settings.pipeline is None:
        raise ConfigError(f"{role}: no pipeline", hint="--pipeline FOLDER")
    wake_quickly()  # before any thread is started that has a part in serving
    torch.set_num_threads(settings.torch_threads)
    return load_pipeline(settings.pipeline)


def live_weights(
    context: "Context[InferenceSettings]",
    pipeline: Pipeline,
    rehearsal: Rehearsal,
    on_change: "Callable[[Bound], None]",
) -> LiveWeights:
    """The host's agent's versions of the pipeline's model, warmed up by rehearsal.

    While the champion is behind its fleet the process is not ready; a further model is no reason not to serve the
    champion.
    """

    def on_behind(why: str) -> None:
        if pipeline.variant is None:
            context.ready.set("fleet", not why, why or "serves what the fleet does")

    on_behind("")
    return LiveWeights(
        agent_socket(context.settings),
        pipeline.model_name,
        pipeline.model.network,
        worker=context.settings.instance,
        role=context.role,
        warm_up=rehearsal,
        on_change=on_change,
        on_behind=on_behind,
        finite=pipeline.model.finite,
    )


def build_stream(
    context: Context[StreamSettings],
    weights: WeightsSource | None = None,
    others: "Mapping[str, WeightsSource] | None" = None,
) -> App:
    """The role `stream`. `others` are the further models' weights, by their names in the fleet."""
    from services.inference.stream_app import StreamApp  # Faust, which the role rpc does not need

    pipeline = load(context.settings, context.role)
    rehearsal = Rehearsal(pipeline)
    app = StreamApp(context, pipeline, rehearsal)
    app.follow(weights or live_weights(context, pipeline, rehearsal, app.on_weights))  # type: ignore[arg-type]
    for other in pipeline.others:
        warm_up = Rehearsal(other)
        source = (others or {}).get(other.model_name)
        app.follow_other(other, source or other_weights(context, other, warm_up), warm_up)  # type: ignore[arg-type]
    return app


def other_weights(context: "Context[InferenceSettings]", pipeline: Pipeline, rehearsal: Rehearsal) -> WeightsSource:
    """A further model's versions; none ever where its network cannot be made, which is no reason not to serve the champion."""
    try:
        return live_weights(context, pipeline, rehearsal, lambda _: None)
    except Exception as error:  # noqa: BLE001 - its author's `network` may raise anything
        said = f"{type(error).__name__}: {error}"
        context.log.error(  # noqa: TRY400 - the reason is in the line
            "a model stays without a version: its network cannot be made", model=pipeline.model_name, error=said
        )
        return StaticWeights(None, model=pipeline.model_name)


def build_rpc(context: Context[RpcSettings], weights: WeightsSource | None = None) -> App:
    """The role `rpc`."""
    from services.inference.rpc_app import RpcApp  # gRPC and FastAPI, which the role stream does not need
    from services.inference.weights_file import open_weights

    if context.settings.realtime and not come_first():
        raise ConfigError(
            "rpc: this process may not have a real-time priority",
            hint="give it CAP_SYS_NICE or a limit of real-time priority (ulimit -r 1, LimitRTPRIO=1), or leave --realtime out",
        )
    pipeline = load(context.settings, context.role)
    rehearsal = Rehearsal(pipeline)
    if weights is None and context.settings.weights is not None:
        weights = open_weights(context.settings.weights, pipeline)
    return RpcApp(
        context,
        pipeline,
        rehearsal,
        weights or live_weights(context, pipeline, rehearsal, lambda _: None),  # type: ignore[arg-type]
    )


def event_loop() -> "asyncio.AbstractEventLoop":
    """The event loop of the role `rpc`: uvloop halves what a small request costs."""
    import uvloop

    return uvloop.new_event_loop()
