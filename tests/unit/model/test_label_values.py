"""`join.labels`: what it may say, checked against the label's type when the pipeline is loaded."""

from pathlib import Path
from typing import Any

import pytest

from headrace.model.pipeline import load_pipeline
from headrace.runtime.errors import PipelineError
from tests.line_kit import write_toy


def test_all_that_it_offers_is_loaded(tmp_path: Path) -> None:
    labels = {
        "late": "dead_letter", "conflicting": "corrected", "corrected_weight": 3, "missing": {"default": {"y": 0.0}},
        "sampling": [{"when": {"y": 0}, "keep": 0.1}],
    }  # fmt: skip
    found = load_pipeline(write_toy(tmp_path, labels=labels)).spec.join.labels
    assert (found.late, found.conflicting, found.missing.default) == ("dead_letter", "corrected", {"y": 0.0})
    assert found.sampling[0].keep == 0.1


def test_missing_labels_are_dropped_by_default_and_by_name(tmp_path: Path) -> None:
    assert load_pipeline(write_toy(tmp_path)).spec.join.labels.missing.default is None
    assert load_pipeline(write_toy(tmp_path, labels={"missing": "drop"})).spec.join.labels.missing.default is None


@pytest.mark.parametrize(
    ("labels", "field", "text"),
    [
        ({"missing": "keep"}, "join.labels.missing", "drop, or default"),
        ({"missing": {"default": {"y": "no"}}}, "join.labels.missing.default.y", "Expected `float`"),
        ({"missing": {"default": {"z": 1}}}, "join.labels.missing.default.z", "beside its key, y"),
        ({"missing": {"default": {}}}, "join.labels.missing.default", "needs a value for 'y'"),
        ({"missing": {"default": {"id": "a", "y": 1}}}, "join.labels.missing.default.id", "beside its key"),
        ({"sampling": [{"when": {"x": 1}, "keep": 0.5}]}, "join.labels.sampling.0.when.x", "beside its key, y"),
        ({"sampling": [{"when": {}, "keep": 0.5}]}, "join.labels.sampling.0.when", "at least 1"),
        ({"sampling": [{"when": {"y": 1}, "keep": 0}]}, "join.labels.sampling.0.keep", "greater than 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_its_field(
    tmp_path: Path, labels: dict[str, Any], field: str, text: str
) -> None:
    with pytest.raises(PipelineError, match=text) as error:
        load_pipeline(write_toy(tmp_path, labels=labels))
    assert f": {field}: " in str(error.value)
    assert "pipeline.yaml:" in str(error.value)
