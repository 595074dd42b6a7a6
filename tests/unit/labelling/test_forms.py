"""The form of a label comes from its struct: kinds, bounds and choices; and of its task, where `target` agrees."""

import enum
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest

from headrace.contracts.labelling import LabelItem
from headrace.model.pipeline import load_pipeline
from services.labelling.errors import BadRequestError
from services.labelling.forms.fields import fields_of
from services.labelling.forms.labels import LabelForm
from tests.line_kit import write_toy

EXAMPLES = Path(__file__).parents[3] / "examples"


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Everything(msgspec.Struct):
    id: str
    score: Annotated[float, msgspec.Meta(ge=0, lt=10, title="Score", description="of ten")]
    stars: Annotated[int, msgspec.Meta(ge=1, le=5)]
    good: bool
    kind: Literal["a", "b"]
    colour: Colour | None = None
    tags: list[Literal["x", "y"]] = []
    note: Annotated[str, msgspec.Meta(max_length=20)] = ""
    at: datetime | None = None
    box: tuple[int, int] = (0, 0)
    amount: float | None = msgspec.field(default=None, name="theAmount")


def test_each_field_has_its_kind_its_bounds_and_its_choices() -> None:
    fields = {field.name: field for field in fields_of(Everything, "id")}
    assert {name: field.kind for name, field in fields.items()} == {
        "score": "number", "stars": "integer", "good": "boolean", "kind": "choice", "colour": "choice",
        "tags": "choices", "note": "text", "at": "datetime", "box": "json", "theAmount": "number",
    }  # fmt: skip
    assert [name for name, field in fields.items() if field.required] == ["score", "stars", "good", "kind"]
    assert [name for name, field in fields.items() if field.nullable] == ["colour", "at", "theAmount"]
    assert msgspec.to_builtins(fields["score"]) == {
        "name": "score", "kind": "number", "required": True, "minimum": 0, "exclusive_maximum": 10, "title": "Score",
        "description": "of ten",
    }  # fmt: skip
    assert (fields["stars"].minimum, fields["stars"].maximum, fields["note"].max_length) == (1, 5, 20)
    assert (fields["colour"].choices, fields["tags"].choices) == (["red", "blue"], ["x", "y"])
    assert (fields["note"].default, fields["box"].default) == ("", (0, 0))


def test_the_classes_of_a_task_are_the_choices_of_its_label() -> None:
    (field,) = LabelForm(load_pipeline(EXAMPLES / "digits")).fields
    assert (field.kind, field.choices) == ("choice", [str(n) for n in range(10)])


def test_a_class_that_is_none_is_refused_though_the_struct_takes_any_text() -> None:
    form = LabelForm(load_pipeline(EXAMPLES / "digits"))
    item = LabelItem("0-1", "i1")
    assert form.encode(item, {"digit": "7"}) == b'{"image_id":"i1","digit":"7"}'
    with pytest.raises(BadRequestError, match="digit: 'x' is none of") as error:
        form.encode(item, {"digit": "x"})
    assert error.value.field == "digit"


def everything(tmp_path: Path) -> LabelForm:
    """The form of a pipeline whose labels are `Everything`."""
    folder = write_toy(tmp_path / "toy")
    source = (folder / "model.py").read_text()
    label = "class Label(msgspec.Struct):\n    id: str\n    y: float\n"
    assert label in source
    wide = (
        "from typing import Annotated, Literal\n"
        "class Label(msgspec.Struct):\n    id: int\n    y: Annotated[float, msgspec.Meta(ge=0, le=10)]\n"
        '    kind: Literal["a", "b"] = "a"\n    where: dict[str, float] = {}\n    stars: int = 0\n'
    )
    source = source.replace(label, wide).replace(
        "class Event(msgspec.Struct):\n    id: str", "class Event(msgspec.Struct):\n    id: int"
    )
    (folder / "model.py").write_text(source)
    return LabelForm(load_pipeline(folder))


@pytest.mark.parametrize(
    ("given", "field", "text"),
    [
        ({"y": 11.0}, "y", "y: Expected `float` <= 10.0"),
        ({"y": -1}, "y", "y: Expected `float` >= 0.0"),
        ({"y": None}, "y", "y: Expected `float`, got `null`"),
        ({"y": 1, "kind": "c"}, "kind", "kind: 'c' is none of 'a', 'b'"),
        ({"y": 1, "where": {"lat": "x"}}, "where[...]", "where[...]: Expected `float`, got `str`"),
        ({"y": 1, "stars": 2**70}, "stars", "stars: "),
        ({"kind": "a"}, "y", "missing required field `y`"),
        ({"y": 1, "yy": 2}, "yy", "yy: Label has y, kind, where, stars"),
        ({"y": 1, "id": 8}, "id", "id: the item's is 7"),
    ],
)
def test_a_wrong_label_is_refused_with_its_field(tmp_path: Path, given: Any, field: str, text: str) -> None:
    form = everything(tmp_path)
    item = LabelItem("0-1", "7", event=msgspec.Raw(b'{"id":7,"x":1.0}'))
    with pytest.raises(BadRequestError) as error:
        form.encode(item, given)
    assert (error.value.field, text in str(error.value)) == (field, True), str(error.value)


def test_the_key_has_the_type_of_the_struct_also_where_the_event_is_not_known(tmp_path: Path) -> None:
    form = everything(tmp_path)
    assert form.encode(LabelItem("l0-1", "7"), {"y": 1, "id": 7}).startswith(b'{"id":7,"y":1.0,')
    with pytest.raises(BadRequestError, match="id: 'seven'"):
        form.encode(LabelItem("l0-1", "seven"), {"y": 1})
    assert form.entered(b'{"id":7,"y":1.0}') == {"y": 1.0}
