"""The data planes of all models of some pipelines: each pipeline's own model, and the further ones beside it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context
from headrace.weights import StaticWeights
from headrace.weights.worker.source import WeightsSource
from services.inference.live import live_weights
from services.inference.rpc.batcher import BatchLimits
from services.inference.rpc.parameters import Priorities
from services.inference.rpc.response_cache import ResponseCache
from services.inference.rpc.service import DataPlane
from services.inference.rpc.settings import RpcSettings
from services.inference.warm_up import WarmUpBatches
from services.inference.weights_file import open_weights


class Planes(NamedTuple):
    """The data planes, and typical events of the first pipeline."""

    planes: list[DataPlane]
    samples: Sequence[Any]


def planes_of(context: Context[RpcSettings], pipelines: Sequence[Pipeline], weights: WeightsSource | None) -> Planes:
    """A data plane for each model of each pipeline; `weights` are those of the first, where they are given.

    Raises:
        ConfigError: two pipelines have the same name, or a setting does not fit.
        WeightsError: a file of weights cannot be served.
    """
    models = [model for pipeline in pipelines for model in (pipeline, *pipeline.others)]
    names = [model.model_name for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"rpc: two pipelines have the name {twice!r}", hint="`name` in pipeline.yaml")
    files = context.settings.weights_of(names)
    alone = len(models) == 1 and context.settings.model_repository is None
    planes, samples = [], None
    for model in models:
        warm_up = WarmUpBatches(model)
        samples = warm_up.samples if samples is None else samples
        name = model.model_name
        given = weights if name == names[0] else None
        if given is None and name in files:
            given = open_weights(files[name], model)
        source = given or _followed(context, model, warm_up, first=name == names[0])
        planes.append(_plane(context.settings.limits_of(name, alone=alone), model, source, warm_up))
    return Planes(planes, samples or ())


def _followed(context: Context[RpcSettings], model: Pipeline, warm_up: WarmUpBatches, *, first: bool) -> WeightsSource:
    """The fleet's versions. A further model whose network cannot be made has none, and costs the others nothing."""
    check = "fleet" if first else f"fleet {model.model_name}"
    try:
        return live_weights(context, model, warm_up, lambda _: None, check=check)  # type: ignore[arg-type]
    except Exception as error:
        if model.variant is None:
            raise
        said = f"{type(error).__name__}: {error}"
        context.log.error(  # noqa: TRY400 - the reason is in the line
            "a model stays without a version: its network cannot be made", model=model.model_name, error=said
        )
        return StaticWeights(None, model=model.model_name)


def _plane(settings: RpcSettings, model: Pipeline, weights: WeightsSource, warm_up: WarmUpBatches) -> DataPlane:
    limits = BatchLimits(
        settings.batch_max_events,
        settings.batch_max_delay_us,
        settings.queue_max_events,
        settings.predict_threads,
        settings.loop_max_us or 0,
        settings.execution_timeout_s,
    )
    return DataPlane(
        model.model_name,
        model.model,
        weights,
        limits,
        max_batch=settings.max_batch_size,
        priorities=Priorities(settings.priority_levels, min(settings.default_priority, settings.priority_levels)),
        remember=warm_up.remember,
        cache=ResponseCache(settings.response_cache_bytes) if settings.response_cache_bytes else None,
        required=model.variant is None,
    )
