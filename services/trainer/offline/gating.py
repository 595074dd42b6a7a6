"""Whether what a job has trained may be handed over, where pipeline.yaml sets `training.gates`.

The weights that were published last and those of the job predict the same examples, which the job has not trained on:
its test part, or the validation part where there is none. The published ones may have learned from them; then the gate
asks more of the job than it need, and publishes nothing that is worse.
"""

import math
from collections.abc import Callable

import numpy as np

from headrace.model.pipeline import Pipeline
from headrace.runtime.errors import WeightsError
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.gates import difference, schema
from services.trainer.offline.examples import Examples
from services.trainer.offline.fitting import Fitted
from services.trainer.offline.judging import judged, network_of
from services.trainer.offline.parts import Parts


def refusal(
    pipeline: Pipeline, folder: CheckpointFolder, examples: Examples, parts: Parts, fitted: Fitted, *,
    check: Callable[[], None] = lambda: None,
) -> str:  # fmt: skip
    """Which gate refuses, and why; "" if none does, or where nothing was published yet."""
    spec, published = pipeline.spec.training.gates, _published(folder)
    if spec is None or published is None:
        return ""
    version, before = published.header.version, published.published or published.weights
    if published.header.gated is not None:
        version = published.header.gated.published_version
    if changed := difference(schema(before), schema(fitted.weights)):
        return f"schema: {changed}"
    part = (parts.test if len(parts.test) else parts.validation)[-spec.examples :]
    if spec.worse is None or len(part) < spec.least:
        return ""
    errors = []
    for weights in (fitted.weights, before):
        network = network_of(pipeline.model, weights)
        errors.append(_mean([one.error for one in judged(pipeline.model, network, examples, part, check)]))
    own, theirs = errors
    if own <= spec.worse * theirs:
        return ""
    return f"worse: error {own:.4g} on the last {len(part)} examples, where version {version} has {theirs:.4g}"


def _published(folder: CheckpointFolder) -> Checkpoint | None:
    """The newest file that can be read, which knows the weights that were published last."""
    for entry in folder.entries():
        try:
            return folder.read(entry)
        except WeightsError:
            continue
    return None


def _mean(errors: list[float]) -> float:
    """Infinite if one is not finite: such weights are no better than any."""
    found = np.array(errors, np.float64)
    return float(found.mean()) if np.isfinite(found).all() else math.inf
