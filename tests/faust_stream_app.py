"""The role `stream` as Faust's own command line is given it in tests.

`faust -A tests.faust_stream_app worker`, version 1.
"""

import torch

from headrace.model.pipeline import load_pipeline
from headrace.runtime.settings import load
from headrace.weights import StaticWeights
from services.inference.stream.faust_app import faust_app
from services.inference.stream.settings import StreamSettings

torch.manual_seed(0)
_pipeline = load_pipeline(load(StreamSettings, "stream").pipeline)
app = faust_app(StaticWeights(_pipeline.model.network(), model=_pipeline.name))
