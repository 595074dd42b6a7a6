"""What made a version, for people: the pipeline's code and the releases that ran it."""

import torch

from headrace import __version__
from headrace.model.code import code_digest, commit_of
from headrace.model.pipeline import Pipeline


def origin_of(pipeline: Pipeline) -> dict[str, str]:
    """`code`, `commit` (where there is one), `headrace` and `torch`."""
    found = {
        "code": code_digest(pipeline.folder),
        "commit": commit_of(pipeline.folder),
        "headrace": __version__,
        "torch": str(torch.__version__),
    }
    return {name: value for name, value in found.items() if value}
