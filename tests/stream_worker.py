"""A stream worker for tests: the real role, with weights that are already there instead of an agent's.

The weights' version is 1.
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
    return build_stream(context, StaticWeights(pipeline.model.network(), model=pipeline.name))


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1)  # a worker that is stuck shows where
    sys.exit(run_role("stream", StreamSettings, build, sys.argv[1:]))
