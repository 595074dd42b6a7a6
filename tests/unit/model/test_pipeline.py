"""A pipeline folder loads, and every mistake in it is named with file, line and field."""

from pathlib import Path

import pytest

from headrace.model.pipeline import load_pipeline, load_spec
from headrace.runtime.errors import PipelineError

MODEL = """
from collections.abc import Sequence
import msgspec, torch
import headrace

class Ping(msgspec.Struct):
    id: int
    x: float

class Pong(msgspec.Struct):
    id: int
    y: float

class Line(headrace.Model[Ping, Pong]):
    key = "id"
    def network(self): return torch.nn.Linear(1, 1)
    def features(self, events): return torch.tensor([[e.x] for e in events])
    def loss(self, outputs, labels): return outputs.mean()
    def predictions(self, outputs) -> Sequence[float]: return outputs[:, 0].tolist()
    def error(self, prediction, label): return abs(prediction - label.y)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "pipeline.yaml").write_text("name: line\nmodel: model.py:Line\n")
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def test_a_folder_loads_with_its_types(folder: Path) -> None:
    pipeline = load_pipeline(folder)
    event = pipeline.event_decoder.decode(b'{"id": 7, "x": 1.5}')
    assert pipeline.name == "line"
    assert pipeline.model.key_of(event) == "7"
    assert pipeline.model.prediction_type() is float
    assert pipeline.label_decoder.type is pipeline.model.label_type()
    example = pipeline.example_decoder.decode(
        b'{"key":"7","event":{"id":7,"x":1},"label":{"id":7,"y":2},"event_source":[0,1],"label_source":[0,2],'
        b'"event_ms":1,"label_ms":2}'
    )
    assert (example.event.x, example.label.y) == (1.0, 2.0)


def test_two_folders_with_the_same_file_names_do_not_meet(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "pipeline.yaml").write_text("name: other\nmodel: model.py:Line\n")
    (other / "model.py").write_text(MODEL.replace('key = "id"', 'key = "x"').replace("y: float", "x: float"))
    first, second = load_pipeline(folder), load_pipeline(other)
    assert (first.model.key, second.model.key) == ("id", "x")


@pytest.mark.parametrize(
    ("yaml", "said"),
    [
        ("name: line\nmodel: model.py:Line\ntraining:\n  batch_size: 0\n", r"pipeline.yaml:4: training.batch_size: .*greater"),
        ("name: line\nmodel: model.py:Line\ntrainin: {}\n", r"pipeline.yaml:3: trainin: Extra"),
        ("name: Bad Name\nmodel: model.py:Line\n", r"pipeline.yaml:1: name: "),
        ("name: line\n", r"pipeline.yaml:1: model: Field required"),
        ("- a\n- b\n", r"expected a mapping"),
        ("name: [\n", r"not YAML"),
        ("name: line\nmodel: model.py:Nope\n", r"model.py: no class Nope"),
        ("name: line\nmodel: model.py:Ping\n", r"model.py: Ping is not a headrace.Model"),
        ("name: line\nmodel: gone.py:Line\n", r"gone.py: no such file"),
    ],
)
def test_a_wrong_pipeline_yaml_is_named_by_line_and_field(folder: Path, yaml: str, said: str) -> None:
    (folder / "pipeline.yaml").write_text(yaml)
    with pytest.raises(PipelineError, match=said):
        load_pipeline(folder)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('key = "id"', 'key = "ride"', r"key 'ride' is no field of Ping"),
        ("headrace.Model[Ping, Pong]", "headrace.Model", r"does not say its event and label types"),
        ("import msgspec, torch", "import msgspec, torchh", r"model.py:3: ModuleNotFoundError"),
        ("class Pong(msgspec.Struct):", "class Pong:", r"label type .* is not a msgspec.Struct"),
        ("def network(self): return", "def network(self) return", r"model.py:16: SyntaxError"),
        ("    def network(self): return torch.nn.Linear(1, 1)\n", "", r"Line\(\) raised TypeError.*network"),
    ],
)
def test_a_wrong_model_is_named_by_file_and_line(folder: Path, before: str, after: str, said: str) -> None:
    (folder / "model.py").write_text(MODEL.replace(before, after))
    with pytest.raises(PipelineError, match=said):
        load_pipeline(folder)


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="headrace new"):
        load_spec(tmp_path / "nowhere")


def test_a_pipeline_without_a_source_says_which_field_would_name_it(folder: Path) -> None:
    with pytest.raises(PipelineError, match="source"):
        load_pipeline(folder).source()
