"""A further model that cannot even be made leaves the stream as it is."""

from pathlib import Path

import pytest

from headrace.model.pipeline import load_pipeline
from headrace.runtime.access.edge import Edge
from headrace.runtime.endpoints import EndpointFile
from headrace.runtime.lifecycle import Context, Readiness, Stop
from headrace.runtime.logging import get_logger
from headrace.weights import LiveWeights
from headrace.weights.errors import NotReady
from services.inference.stream.app import other_weights
from services.inference.stream.settings import StreamSettings
from services.inference.warm_up import WarmUpBatches
from tests.line_kit import write_toy

BROKEN = """
from headrace import Source
from .model import Event, Toy

class Broken(Toy):
    def network(self):
        raise RuntimeError("no such layer")

class Picky(Toy):
    def features(self, events):
        raise RuntimeError("no such column")

class Few(Source):
    def replay(self, **options):
        return iter(())

    def sample(self, count):
        return [Event("a", 1.0)]
"""


def test_a_network_that_cannot_be_made_and_features_that_raise_on_samples_harm_only_their_model(tmp_path: Path) -> None:
    models = [{"name": name, "model": f"other.py:{name.title()}", "role": "shadow"} for name in ("broken", "picky")]
    folder = write_toy(tmp_path / "toy", models=models)
    (folder / "other.py").write_text(BROKEN)
    (folder / "pipeline.yaml").write_text((folder / "pipeline.yaml").read_text() + "source: other.py:Few\n")
    broken, picky = load_pipeline(folder).others
    settings = StreamSettings(run_dir=tmp_path).for_role("stream")
    endpoints = EndpointFile(tmp_path, "stream", "s")
    context = Context("stream", settings, Stop(), Readiness(), get_logger("test"), Edge(settings, "test"), endpoints)

    never = other_weights(context, broken, WarmUpBatches(broken))  # type: ignore[arg-type]
    assert (never.model, never.version) == ("toy.broken", 0)
    with pytest.raises(NotReady):
        never.lease()
    some = other_weights(context, picky, WarmUpBatches(picky))  # type: ignore[arg-type]
    assert isinstance(some, LiveWeights)
    assert some.model == "toy.picky"
