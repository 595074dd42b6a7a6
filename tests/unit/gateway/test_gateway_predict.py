"""Events in JSON to the serving protocol and back, without a model or a network."""

from typing import Any

import msgspec
import pytest

from services.gateway.errors import BadRequestError, RefusedError
from services.gateway.service import Predictions, parse_events
from services.gateway.tensors import batches, predictions, signature

CONFIG = {
    "input": [
        {"name": "id", "data_type": "TYPE_STRING", "dims": [1]},
        {"name": "x", "data_type": "TYPE_FP64", "dims": [1]},
        {"name": "tip", "data_type": "TYPE_FP64", "dims": [1], "optional": True},
        {"name": "series", "data_type": "TYPE_FP64", "dims": [-1], "optional": True},
        {"name": "place", "data_type": "TYPE_STRING", "dims": [1], "optional": True},
    ],
    "output": [{"name": "prediction", "data_type": "TYPE_FP64", "dims": [1]}],
    "parameters": {"json_tensors": {"string_value": "place"}},
}
OF = signature(CONFIG)


class Doubling:
    """A v2 server whose model doubles x; it records the batches that it was asked."""

    def __init__(self) -> None:
        self.config = CONFIG
        self.asked: list[list[str]] = []

    async def get(self, path: str) -> Any:
        assert path == "/v2/models/p/config"
        return self.config

    async def ask(self, path: str, body: bytes) -> Any:
        assert path == "/v2/models/p/infer"
        inputs = {i["name"]: i["data"] for i in msgspec.json.decode(body)["inputs"]}
        if unknown := inputs.keys() - {i["name"] for i in self.config["input"]}:
            raise RefusedError(f"unexpected inference input '{min(unknown)}'", 400)
        self.asked.append(sorted(inputs))
        doubled = [2 * x for x in inputs["x"]]
        output = {"name": "prediction", "datatype": "FP64", "shape": [len(doubled), 1], "data": doubled}
        return {"model_name": "p", "model_version": "3", "parameters": {"checkpoint": "c"}, "outputs": [output]}


async def test_a_prediction_names_its_version_and_checkpoint() -> None:
    (made,) = await Predictions("p", Doubling()).predict([{"id": "a", "x": 1.5}])

    assert made.as_dict() == {"prediction": 3.0, "model": "p", "version": 3, "checkpoint": "c"}


async def test_events_that_differ_go_apart_and_come_back_in_order() -> None:
    server = Doubling()
    events = [
        {"id": "a", "x": 1},
        {"id": "b", "x": 2, "tip": None},
        {"id": "c", "x": 3},
        {"id": "d", "x": 4, "series": [1, 2]},
    ]

    made = await Predictions("p", server).predict(events)

    assert [one.prediction for one in made] == [2, 4, 6, 8]
    assert sorted(server.asked) == [["id", "series", "x"], ["id", "tip", "x"], ["id", "x"]]


async def test_nothing_is_asked_for_no_events() -> None:
    server = Doubling()

    assert await Predictions("p", server).predict([]) == []
    assert server.asked == []


async def test_a_model_whose_fields_changed_is_learned_again() -> None:
    server = Doubling()
    gateway = Predictions("p", server)
    await gateway.predict([{"id": "a", "x": 1}])
    server.config = {**CONFIG, "input": [*CONFIG["input"], {"name": "new", "data_type": "TYPE_INT64", "dims": [1]}]}

    (made,) = await gateway.predict([{"id": "a", "x": 1, "new": 5}])

    assert made.prediction == 2


async def test_a_field_that_the_model_does_not_know_is_named() -> None:
    with pytest.raises(BadRequestError, match="event 1: the model takes no field 'colour'"):
        await Predictions("p", Doubling()).predict([{"id": "a", "x": 1}, {"id": "a", "x": 1, "colour": "red"}])


def test_inputs_have_the_models_datatypes_and_shapes() -> None:
    ((positions, inputs),) = batches([{"id": "a", "x": 1, "series": [1, 2, 3], "place": {"y": 2}}], OF)

    assert positions == [0]
    assert inputs == [
        {"name": "id", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]},
        {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [1]},
        {"name": "series", "datatype": "FP64", "shape": [1, 3], "data": [[1, 2, 3]]},
        {"name": "place", "datatype": "BYTES", "shape": [1, 1], "data": ['{"y":2}']},
    ]


@pytest.mark.parametrize("event", [{"id": ["a"], "x": 1}, {"id": "a", "x": 1, "series": 5}])
def test_a_value_of_the_wrong_form_is_refused(event: dict) -> None:
    with pytest.raises(BadRequestError):
        batches([event], OF)


def test_several_outputs_are_one_object() -> None:
    answer = {
        "model_name": "p",
        "model_version": "1",
        "outputs": [
            {"name": "label", "shape": [2, 1], "data": [7, 8]},
            {"name": "scores", "shape": [2, 2], "data": [0.1, 0.9, 0.2, 0.8]},
            {"name": "why", "shape": [2, 1], "data": ['{"a":1}', "null"]},
        ],
    }
    config = {"input": [], "output": answer["outputs"], "parameters": {"json_tensors": {"string_value": "why"}}}

    made = predictions(answer, signature(config))

    assert [one.prediction for one in made] == [
        {"label": 7, "scores": [0.1, 0.9], "why": {"a": 1}},
        {"label": 8, "scores": [0.2, 0.8], "why": None},
    ]


@pytest.mark.parametrize("body", [b"", b"{", b"5", b'["a"]', b"null"])
def test_a_body_that_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError):
        parse_events(body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"x": NaN}', "the body is not JSON: x: NaN, expected a finite number"),
        (b'[{"x": 1}, {"x": -Infinity}]', "the body is not JSON: event 1: x: -Infinity, expected a finite number"),
        (
            b'[{"x": 1}, {"place": {"y": [1e999]}}]',
            "the body is not JSON: event 1: place.y[0]: 1e999, expected a finite",
        ),
        (b'{"id": "\xff"}', "the body is not JSON: not UTF-8"),
    ],
)
def test_a_number_that_json_does_not_have_is_named_by_event_and_field(body: bytes, said: str) -> None:
    with pytest.raises(BadRequestError) as error:
        parse_events(body)
    assert str(error.value).startswith(said)


def test_an_integer_beyond_64_bits_is_named_by_event_and_field_where_the_model_takes_an_integer() -> None:
    config = {**CONFIG, "input": [*CONFIG["input"], {"name": "n", "data_type": "TYPE_INT64", "dims": [1]}]}
    events = [{"id": "a", "x": 1}, {"id": "b", "x": 2**70, "n": 1}, {"id": "c", "x": 1, "n": 2**63}]
    with pytest.raises(BadRequestError, match="event 2: n: 9223372036854775808 is beyond 64 bits"):
        batches(events, signature(config))
    assert len(batches(events[:2], signature(config))) == 2, "a float may be as large as it likes"


def test_a_body_is_one_event_or_a_list() -> None:
    assert parse_events(b'{"a": 1}') == ([{"a": 1}], False)
    assert parse_events(b'[{"a": 1}]') == ([{"a": 1}], True)
