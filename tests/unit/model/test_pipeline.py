"""A pipeline folder loads, and every mistake in it is named with file, line and field."""

from pathlib import Path

import pytest

from headrace.model.pipeline import load_pipeline
from headrace.model.spec_file import load_spec
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
        (
            "name: line\nmodel: model.py:Line\ntraining:\n  batch_size: 0\n",
            r"pipeline.yaml:4: training.batch_size: .*greater",
        ),
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
        ('key = "id"', 'key = "ride"', r"key 'ride' is not a field of Ping"),
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


TARGET = "    def target(self, label): return label.y > 0\n"
ERROR = "    def error(self, prediction, label): return abs(prediction - label.y)\n"


def with_task(folder: Path, task: str, model: str) -> Path:
    (folder / "pipeline.yaml").write_text(f"name: line\nmodel: model.py:Line\ntask: {task}\n")
    (folder / "model.py").write_text(model)
    return folder


def test_a_task_gives_error_and_baselines_to_a_model_that_says_what_was_true(folder: Path) -> None:
    model = load_pipeline(with_task(folder, "binary", MODEL.replace(ERROR, TARGET))).model
    label = model.label_type()(1, 3.0)
    assert model.task == "binary"
    assert model.error(0.5, label) == pytest.approx(0.693, abs=1e-3)
    assert set(model.baselines()) == {"prior", "last label"}


def test_without_a_task_it_is_regression_by_the_models_own_error(folder: Path) -> None:
    model = load_pipeline(folder).model
    label = model.label_type()(1, 3.0)
    assert (model.task, model.error(1.0, label), model.baselines()) == ("regression", 2.0, {})
    assert model.judge(1.0, label) == (2.0, (2.0,))


@pytest.mark.parametrize(
    ("task", "model", "said"),
    [
        ("binary", MODEL, "Line has no `target`, which task binary needs"),
        ("regression", MODEL.replace(ERROR, ""), "Line has no `target`, which task regression needs"),
        ("multiclass", MODEL.replace(ERROR, TARGET), "Line: task multiclass: no classes are named"),
        ("binary", MODEL.replace(ERROR, TARGET + "    classes = ('a', 'b')\n"), "it has no use for the classes named"),
        ("guess", MODEL, "pipeline.yaml:3: task: "),
    ],
)
def test_a_model_that_lacks_what_its_task_needs_is_told_so(folder: Path, task: str, model: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        load_pipeline(with_task(folder, task, model))


def test_a_missing_folder_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="headrace new"):
        load_spec(tmp_path / "nowhere")


def test_a_pipeline_without_a_source_says_which_field_would_name_it(folder: Path) -> None:
    with pytest.raises(PipelineError, match="source"):
        load_pipeline(folder).source()


VARIANTS = """
name: line
model: model.py:Line
training: {{batch_size: 8, seed: 3}}
models:
  - name: wide
    model: model.py:Line
    role: canary
    share: 0.1
  - {{name: next, model: other.py:Other, role: shadow, training: {{learning_rate: 0.5}}}}
{more}
"""
OTHER = """
from .model import Line, Ping, Pong

class Other(Line):
    pass
"""


def with_models(folder: Path, more: str = "", other: str = OTHER) -> Path:
    (folder / "pipeline.yaml").write_text(VARIANTS.format(more=more))
    (folder / "other.py").write_text(other)
    return folder


def test_further_models_are_the_same_pipeline_with_another_model_and_its_own_training(folder: Path) -> None:
    pipeline = load_pipeline(with_models(folder))
    wide, following = pipeline.others
    assert (pipeline.model_name, wide.model_name, following.model_name) == ("line", "line.wide", "line.next")
    assert {p.name for p in (pipeline, wide, following)} == {"line"}
    assert type(following.model).__name__ == "Other"
    assert following.spec.training.model_dump() == {**pipeline.spec.training.model_dump(), "learning_rate": 0.5}
    assert wide.spec.training == pipeline.spec.training
    assert [pipeline.of_model(name) for name in ("", "line", "wide", "line.wide", "next")] == [
        pipeline, pipeline, wide, wide, following,
    ]  # fmt: skip
    with pytest.raises(PipelineError, match=r"no model 'nope'.*line, wide, next"):
        pipeline.of_model("nope")


def test_only_shadows_need_a_topic_more(folder: Path) -> None:
    def names() -> set[str]:
        return {topic.name for topic in load_pipeline(folder).topics}

    alone = names()
    assert "line.shadows" not in alone
    with_models(folder)
    assert names() == {*alone, "line.shadows"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("  - {name: wide, model: m.py:M, role: shadow}", r"yaml:11: models.2.name: two models have the name 'wide'"),
        ("  - {name: line, model: m.py:M, role: shadow}", r"yaml:11: models.2.name: the pipeline's own model has"),
        ("  - {name: c, model: m.py:M, role: canary}", r"yaml:11: models.2.share: a canary needs a share"),
        (
            "  - {name: c, model: m.py:M, role: shadow, share: 0.1}",
            r"yaml:11: models.2.share: a shadow answers nothing",
        ),
        ("  - {name: c, model: m.py:M, role: canary, share: 0}", r"yaml:11: models.2.share: .*greater than 0"),
        ("  - {name: c, model: m.py:M, role: canary, share: 0.91}", r"yaml:11: models.2.share: .* shares sum to 1.01"),
        (
            "  - {name: c, model: m.py:M, role: canary, share: 0.1}",
            r"models.2.start: wide and c both claim .*from 0 to 0.1.*0.1",
        ),
        (
            "  - {name: c, model: m.py:M, role: canary, share: 0.5, start: 0.6}",
            r"yaml:11: models.2.start: c: .*beyond 1",
        ),
        ("  - {name: c, model: m.py:M, role: twin}", r"yaml:11: models.2.role: .*'shadow' or 'canary'"),
        ("  - {name: a.b, model: m.py:M, role: shadow}", r"yaml:11: models.2.name: .*pattern"),
        ("  - {name: c, role: shadow}", r"yaml:11: models.2.model: Field required"),
        ("  - name: c\n    model: model.py:Nope\n    role: shadow", r"model.py: no class Nope.*models.2.model"),
    ],
)
def test_a_wrong_model_beside_the_champion_is_named_by_line_and_field(folder: Path, more: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        load_pipeline(with_models(folder, more))


def test_parts_of_the_keys_may_touch(folder: Path) -> None:
    more = "  - {name: c, model: model.py:Line, role: canary, share: 0.9, start: 0.1}"
    assert [other.spec.models[2].part for other in load_pipeline(with_models(folder, more)).others] == [(0.1, 1.0)] * 3


FOREIGN = """
import msgspec
from headrace import Model
from .model import Pong

class Ping(msgspec.Struct):
    id: int
    x: float

class Other(Model[Ping, Pong]):
    key = "id"
    network = features = loss = error = lambda *_: None
    def predictions(self, outputs): return []
"""


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            FOREIGN,
            r"other.py: Other, models.1.model: its event type is Ping of other.py, the champion's Ping of model.py",
        ),
        (OTHER.replace("pass", 'key = "x"').replace("Line, Ping", "Line"), r"key 'x' is not a field of Pong"),
        (
            OTHER.replace("pass", "def predictions(self, outputs) -> list[int]: return []"),
            r"models.1.model: its prediction type is int, the champion's float",
        ),
    ],
)
def test_a_model_that_could_not_stand_in_for_the_champion_is_refused(folder: Path, other: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        load_pipeline(with_models(folder, other=other))
