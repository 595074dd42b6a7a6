"""The list of a pipeline's models."""

import pytest

from headrace.model.spec import PipelineSpec
from services.gateway.errors import UnknownError
from services.gateway.models import Models

SPEC = PipelineSpec(
    name="heat",
    model="model.py:Heat",
    models=[
        {"name": "wide", "model": "variants.py:Wide", "role": "canary", "share": 0.25},
        {"name": "slow", "model": "model.py:Heat", "role": "shadow"},
    ],
)


def test_every_model_is_listed_with_its_share_where_it_can_be_followed_and_what_is_watched_of_it() -> None:
    listed = Models(SPEC).report("/heat", [{"model": "heat.wide", "predictions": 3}])

    assert [(one["model"], one["role"], one["share"]) for one in listed] == [
        ("heat", "champion", 0.75),
        ("heat.wide", "canary", 0.25),
        ("heat.slow", "shadow", 0.0),
    ]
    assert [one["predictions"] for one in listed] == [
        "/heat/predictions?model=heat",
        "/heat/predictions?model=heat.wide",
        "/heat/shadows?model=heat.slow",
    ]
    assert [one["monitor"] for one in listed] == [None, {"model": "heat.wide", "predictions": 3}, None]


def test_a_champion_alone_answers_everything() -> None:
    (alone,) = Models(PipelineSpec(name="heat", model="model.py:Heat")).report("/heat", [])
    assert (alone["role"], alone["share"]) == ("champion", 1.0)


@pytest.mark.parametrize(("name", "model"), [("heat", "heat"), ("wide", "heat.wide"), ("heat.slow", "heat.slow")])
def test_a_model_is_known_by_both_of_its_names(name: str, model: str) -> None:
    assert Models(SPEC).named(name) == model


def test_a_model_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(
        UnknownError, match=r"unknown model 'fast': the models of 'heat' are heat, heat.wide, heat.slow"
    ):
        Models(SPEC).named("fast")
