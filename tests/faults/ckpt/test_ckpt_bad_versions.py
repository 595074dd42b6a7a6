"""Versions and events that must not be served, under load.

Each is refused with its reason, and the next good one comes.
"""

import pytest
import torch

from headrace.contracts.topics import CHECKPOINTS, model_partition
from tests.faults.ckpt.loaded import KEY, Loaded
from tests.faults.ckpt.proof import state_of
from tests.integration.ckpt.fleet import Applied
from tests.patience import WAIT_S


def without_a_tensor(version: int) -> dict[str, torch.Tensor]:
    return {"first": state_of(version)["first"]}


def of_another_shape(version: int) -> dict[str, torch.Tensor]:
    return {**state_of(version), "second": torch.zeros(128, 300)}


def with_nan(version: int) -> dict[str, torch.Tensor]:
    state = state_of(version)
    state["second"][7, 7] = float("nan")
    return state


@pytest.mark.parametrize(
    ("state", "key", "said"),
    [
        (state_of, None, "the manifest is unsigned"),
        (state_of, b"another key", "signature is not that of the configured key"),
        (without_a_tensor, KEY, "has the schema"),
        (of_another_shape, KEY, "has the schema"),
        (with_nan, KEY, "NonFinite"),
    ],
    ids=["unsigned", "wrongly signed", "a tensor is missing", "a shape is wrong", "NaN"],
)
def test_a_bad_version_is_refused_with_the_reason(loaded: Loaded, state, key: bytes | None, said: str) -> None:
    reports = Applied(loaded.fleet)
    version = loaded.announce(loaded.put(state(loaded.version + 1)), key)
    assert said in reports.expect("FAILED", version).error
    reports.close()
    loaded.goes_on()
    loaded.serves(loaded.publish())


def test_duplicated_reordered_zombie_and_undecodable_events_change_nothing(loaded: Loaded) -> None:
    """After a new trainer's version.

    The same once more, an older one late, newer ones of the trainer before it, and junk.
    """
    loaded.epoch += 1
    late = loaded.put()
    manifest = loaded.put()
    loaded.serves(loaded.announce(manifest))
    loaded.announce(manifest)
    loaded.announce(late)
    loaded.announce(loaded.put(epoch=loaded.epoch - 1))
    topic, partition = CHECKPOINTS.name(), model_partition(loaded.model)
    for junk in (b"\xff junk", None):
        loaded.fleet.producer.produce(topic, junk, partition=partition)
    assert loaded.fleet.producer.flush(WAIT_S) == 0
    loaded.serves(loaded.publish())
