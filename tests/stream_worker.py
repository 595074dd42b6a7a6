"""A stream worker for tests: the real role, with weights that are already there instead of an agent's.

The weights' version is 1, and 2, 3, ... those of the pipeline's further models.
"""

import faulthandler
import signal
import sys

import torch

from headrace.model.pipeline import load_pipeline
from headrace.runtime.lifecycle import Context, run_role
from headrace.weights import StaticWeights
from services.inference.app import build_stream
from services.inference.settings import StreamSettings


def build(context: Context[StreamSettings]):
    """The role on static weights."""
    torch.manual_seed(0)
    pipeline = load_pipeline(context.settings.pipeline)
    models = (pipeline, *pipeline.others)
    champion, *others = (
        StaticWeights(m.model.network(), model=m.model_name, version=version) for version, m in enumerate(models, start=1)
    )
    return build_stream(context, champion, {source.model: source for source in others})


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # a worker that is stuck shows where
    sys.exit(run_role("stream", StreamSettings, build, sys.argv[1:]))
