"""All models of some pipelines as a server serves them: each pipeline's own model, and the further ones beside it."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from headrace.model.pipeline import Pipeline
from headrace.model.spec import SHADOW
from headrace.runtime.devices.choosing import open_device
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context
from headrace.weights import StaticWeights
from headrace.weights.worker.source import VersionedWeights
from headrace.weights.worker.version_policy import VersionPolicy
from services.inference.live import live_weights
from services.inference.rpc.batching.batcher import BatchLimits
from services.inference.rpc.cache.responses import Cache, ResponseCache
from services.inference.rpc.cache.shared import SharedResponses, SharedTable
from services.inference.rpc.models.traffic import Traffic
from services.inference.rpc.parameters import Priorities
from services.inference.rpc.served import Served
from services.inference.rpc.service import DataPlane
from services.inference.rpc.settings import RpcSettings
from services.inference.warm_up import WarmUpBatches
from services.inference.weights_file import open_weights

_SHADOW_EVENTS = 4096
"""Events of copies that may wait for a shadow: more would be memory for answers that nobody reads."""


class Models(NamedTuple):
    """The models, and typical events of the first pipeline."""

    models: list[Served]
    samples: Sequence[Any]


def models_of(context: Context[RpcSettings], pipelines: Sequence[Pipeline], weights: VersionedWeights | None) -> Models:
    """Every model of each pipeline; `weights` are those of the first, where they are given.

    Raises:
        ConfigError: two pipelines have the same name, or a setting does not fit.
        WeightsError: a file of weights cannot be served.
    """
    models = [model for pipeline in pipelines for model in (pipeline, *pipeline.others)]
    names = [model.model_name for model in models]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"rpc: two pipelines have the name {twice!r}", hint="`name` in pipeline.yaml")
    settings = context.settings
    files, labels = settings.weights_of(names), settings.labels_of(names)
    table = None if settings.response_cache_file is None else SharedTable(settings.response_cache_file)
    alone = len(models) == 1 and settings.model_repository is None
    planes: dict[str, DataPlane] = {}
    samples: Sequence[Any] | None = None
    for model in models:
        name = model.model_name
        limits = settings.limits_of(name, alone=alone)
        warm_up = WarmUpBatches(model, max(limits.max_batch_size, limits.batch_max_events))
        samples = warm_up.samples if samples is None else samples
        given = weights if name == names[0] else None
        if given is None and name in files:
            given = open_weights(files[name], model, warm_up, open_device(settings.device))
        policy = VersionPolicy.parse(limits.version_policy)
        source = given or _followed(context, model, warm_up, policy, first=name == names[0])
        planes[name] = _plane(limits, model, source, warm_up, labels.get(name, {}), table=table)
    served: dict[str, Served] = {**planes}
    served |= {pipeline.name: _with_others(settings, pipeline, planes) for pipeline in pipelines if pipeline.others}
    return Models(list(served.values()), samples or ())


def _with_others(settings: RpcSettings, pipeline: Pipeline, planes: Mapping[str, DataPlane]) -> Served:
    """A pipeline's own model with its traffic to the further ones."""
    others = [(planes[one.model_name], one.variant) for one in pipeline.others if one.variant is not None]
    canaries = [(plane, spec.part) for plane, spec in others if spec.role != SHADOW and settings.route_canaries]
    shadows = [plane for plane, spec in others if spec.role == SHADOW and settings.copy_to_shadows]
    champion = planes[pipeline.name]
    return Traffic(champion, canaries, shadows) if canaries or shadows else champion


def _followed(
    context: Context[RpcSettings], model: Pipeline, warm_up: WarmUpBatches, policy: VersionPolicy, *, first: bool
) -> VersionedWeights:
    """The fleet's versions. A further model whose network cannot be made has none, and costs the others nothing."""
    check = "fleet" if first else f"fleet {model.model_name}"
    try:
        return live_weights(context, model, warm_up, lambda _: None, check=check, policy=policy)  # type: ignore[arg-type]
    except Exception as error:
        if model.variant is None:
            raise
        said = f"{type(error).__name__}: {error}"
        context.log.error(  # noqa: TRY400 - the reason is in the line
            "a model stays without a version: its network cannot be made", model=model.model_name, error=said
        )
        return StaticWeights(None, model=model.model_name)


def _plane(
    settings: RpcSettings,
    model: Pipeline,
    weights: VersionedWeights,
    warm_up: WarmUpBatches,
    labels: Mapping[str, int],
    *,
    table: SharedTable | None = None,
) -> DataPlane:
    is_shadow = model.variant is not None and model.variant.role == SHADOW
    limits = BatchLimits(
        settings.batch_max_events,
        settings.batch_max_delay_us,
        min(settings.queue_max_events, _SHADOW_EVENTS) if is_shadow else settings.queue_max_events,
        settings.predict_threads,
        0 if is_shadow else settings.loop_max_us or 0,
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
        cache=_cache(settings, model.model_name, table),
        required=model.variant is None,
        device=open_device(settings.device).name,
        labels=labels,
    )


def _cache(settings: RpcSettings, model: str, table: SharedTable | None) -> Cache | None:
    if not settings.response_cache_bytes:
        return None
    return ResponseCache(settings.response_cache_bytes) if table is None else SharedResponses(table, model)
