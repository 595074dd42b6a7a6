"""Contestant: Headrace's role `stream`, as it is, on weights that are already there."""

import sys

import torch

from headrace.model.pipeline import load_pipeline
from headrace.runtime.lifecycle import App, Context, run_role
from headrace.weights import StaticWeights
from services.inference.app import build_stream
from services.inference.settings import StreamSettings


def build(context: Context[StreamSettings]) -> App:
    """The role, with the network that the bare loop has."""
    torch.manual_seed(0)
    pipeline = load_pipeline(context.settings.pipeline or "")
    return build_stream(context, StaticWeights(pipeline.model.network(), model=pipeline.name))


if __name__ == "__main__":
    argv = sys.argv[1:]
    group = next(a.split("=", 1)[1] for a in argv if a.startswith("--instance="))
    sys.exit(run_role("stream", StreamSettings, build, [*argv, f"--group={group}", "--log-level=warning"]))
