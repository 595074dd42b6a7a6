"""The role `stream` with a champion, a canary and a shadow, on a real broker.

All or nothing of each round, on both topics.
"""

from collections import Counter

import pytest

from services.inference.routing import Router
from tests.patience import WAIT_S
from tests.stream_kit import WELL, PipelineRun, wait_for

COUNT, KEYS = 20_000, 640
MODELS = (
    {"name": "new", "model": "variants.py:Refusing", "role": "canary", "share": 0.25},
    {"name": "next", "model": "variants.py:Refusing", "role": "shadow"},
    {"name": "copy", "model": "model.py:Numbered", "role": "shadow"},
)


@pytest.fixture
def river(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path, models=MODELS) as made:
        yield made


def test_killed_in_between_each_event_is_still_answered_once_by_its_model_and_seen_once_by_every_shadow(river):
    """The canary refuses two tenths of its events, which the champion answers; the shadow leaves the same out."""
    river.produce(range(COUNT), keys=KEYS)
    worker = river.worker(round_records=300)
    wait_for(lambda: worker.metric("records_total") >= 2000, WAIT_S, "no progress")
    worker.kill()
    river.produce(range(COUNT, COUNT + 1000), keys=KEYS)
    successor = river.worker("w1", round_records=300)
    good = {n for n in river.produced if n % 10 not in {7, 9}}
    outcome = river.read(len(river.produced), shadows=len(river.produced) + len(good))

    assert outcome.verdict(river.produced) == WELL, river.logs()
    assert outcome.letters == []
    new, following, copy = (f"{river.name}.{model['name']}" for model in MODELS)
    keys = sorted(set(river.produced.values()))
    (chosen,) = Router([(0.0, 0.25)]).route(keys)
    mine = {keys[i] for i in chosen}
    versions = {river.name: 1, new: 2, following: 3, copy: 4}
    for _, made in outcome.predictions:
        n = round(made.prediction / 2)
        assert made.model == (new if made.key in mine and n in good else river.name)
        assert made.version == versions[made.model]
    sources = {made.source for _, made in outcome.predictions}
    shadows = Counter((made.model, round(made.prediction / 2)) for _, made in outcome.shadows)
    assert set(shadows.values()) == {1}, "a shadow predicts an event once"
    assert {n for model, n in shadows if model == following} == good
    assert {n for model, n in shadows if model == copy} == set(river.produced)
    assert {made.source for _, made in outcome.shadows} == sources
    assert {(made.model, made.version) for _, made in outcome.shadows} == {(following, 3), (copy, 4)}
    assert all(key == made.key.encode() for key, made in outcome.shadows)

    assert successor.metric("model_predictions_total", model=new) > 0
    assert successor.metric("model_failures_total", model=following, phase="features") > 0
    assert successor.metric("version", model=copy) == 4
    assert successor.stop() == 0
