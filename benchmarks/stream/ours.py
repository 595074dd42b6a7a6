"""Contestant: Headrace's role `stream`, as it is, on weights that are already there."""

import sys
from pathlib import Path

from benchmarks.stream.terms import told
from headrace.model.pipeline import load_pipeline
from headrace.runtime.lifecycle import App, Context, run_role
from headrace.weights import StaticWeights
from services.inference.stream.app import build_stream
from services.inference.stream.settings import StreamSettings

TASK = Path(__file__).parent / "task"


def build(context: Context[StreamSettings]) -> App:
    """The role, with the network that the others have."""
    pipeline = load_pipeline(TASK)
    return build_stream(context, StaticWeights(pipeline.model.network(), model=pipeline.name))


def main(argv: list[str]) -> int:
    """Predict until killed. There is one setting for throughput and latency.

    The role finds its chunk's size by itself.
    """
    terms = told(argv)
    flags = [
        f"--pipeline={TASK}", f"--kafka-bootstrap-servers={terms.servers}", f"--group={terms.group}",
        f"--run-dir={terms.folder}", "--log-level=warning",
    ]  # fmt: skip
    return run_role("stream", StreamSettings, build, flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
