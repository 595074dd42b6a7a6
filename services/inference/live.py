"""What both inference roles start from: the pipeline, set up for serving, and its live weights."""

from typing import TYPE_CHECKING

import torch

from headrace.model.exact_rows import choose_fixed_kernels
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.devices.choosing import open_device
from headrace.runtime.errors import ConfigError
from headrace.runtime.lifecycle import Context
from headrace.runtime.scheduling import wake_quickly
from headrace.weights import LiveWeights, agent_socket
from headrace.weights.worker.version_policy import TWO, VersionPolicy
from services.inference.settings import InferenceSettings
from services.inference.warm_up import WarmUpBatches

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from headrace.weights import Bound


def load(settings: InferenceSettings, role: str) -> Pipeline:
    """The pipeline that the settings name, with torch set up for serving.

    Raises:
        ConfigError: no pipeline was named, or it cannot be loaded, or this machine has no such device.
    """
    if settings.pipeline is None:
        raise ConfigError(f"{role}: no pipeline", hint="--pipeline FOLDER")
    return load_all([settings.pipeline], settings)[0]


def load_all(folders: "Sequence[Path]", settings: InferenceSettings) -> list[Pipeline]:
    """Several pipelines, with torch set up for serving.

    Raises:
        ConfigError: one cannot be loaded, or this machine has no such device.
    """
    open_device(settings.device)
    wake_quickly()  # before any thread that serves is started
    choose_fixed_kernels()  # before the first matrix product
    torch.set_num_threads(settings.torch_threads)
    return [load_pipeline(folder) for folder in folders]


def live_weights(
    context: "Context[InferenceSettings]",
    pipeline: Pipeline,
    warm_up: WarmUpBatches,
    on_change: "Callable[[Bound], None]",
    *,
    check: str = "fleet",
    policy: VersionPolicy = TWO,
) -> LiveWeights:
    """The versions of the pipeline's model that the host's agent provides, each warmed up before it serves.

    The process is not ready, by the condition `check`, while the champion serves another version than its fleet; a
    further model that does so changes nothing. `policy` says which versions are kept beside the live one.
    """

    def on_behind(why: str) -> None:
        if pipeline.variant is None:
            context.ready.set(check, not why, why or "serves what the fleet does")

    on_behind("")
    device = open_device(context.settings.device)
    context.log.info("computing", model=pipeline.model_name, device=device.name)
    return LiveWeights(
        agent_socket(context.settings),
        pipeline.model_name,
        pipeline.model.network,
        worker=context.settings.instance,
        role=context.role,
        warm_up=warm_up,
        on_change=on_change,
        on_behind=on_behind,
        finite=pipeline.model.finite,
        device=device,
        policy=policy,
    )
