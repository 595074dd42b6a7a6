"""The role `stream` on a real broker: every event predicted once, or a dead letter."""

import signal

import pytest

from tests.patience import WAIT_S
from tests.stream_kit import WELL, PipelineRun, wait_for


@pytest.fixture
def river(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path) as made:
        yield made


def test_every_event_is_predicted_once_and_a_stop_commits_what_is_in_hand(river):
    river.produce(range(5000))
    worker = river.worker()
    outcome = river.read(5000)
    assert outcome.verdict(river.produced) == WELL, river.logs()
    assert all(key == p.key.encode() for key, p in outcome.predictions)
    assert worker.metric("records_total") == 5000
    assert worker.stop() == 0
    assert river.committed() == 5000 == sum(1 for _ in outcome.predictions)


def test_a_killed_worker_loses_and_repeats_nothing(river):
    river.produce(range(20_000))
    worker = river.worker(round_records=500)
    wait_for(lambda: worker.metric("records_total") >= 2000, WAIT_S, "no progress")
    worker.kill()
    river.produce(range(20_000, 22_000))
    river.worker("w1", round_records=500)
    outcome = river.read(22_000)
    assert outcome.verdict(river.produced) == WELL, river.logs()


def test_a_second_worker_takes_over_half_and_gives_it_back(river):
    river.produce(range(10_000))
    first = river.worker(round_records=500)
    second = river.worker(round_records=500)
    wait_for(lambda: first.metric("partitions") == second.metric("partitions") == 2, WAIT_S, "not shared")
    river.produce(range(10_000, 20_000))
    wait_for(lambda: second.metric("records_total") > 0, WAIT_S, "the second does nothing")
    assert second.stop() == 0
    wait_for(lambda: first.metric("partitions") == 4, WAIT_S, "not given back")
    river.produce(range(20_000, 22_000))
    outcome = river.read(22_000)
    assert outcome.verdict(river.produced) == WELL, river.logs()
    assert first.stop() == 0


def test_poison_goes_to_the_dead_letters_and_nothing_else_does(river):
    poison = [b"{", b'{"key": "k1"}', None, b'{"key": "k1", "n": -1}', b'{"key": "k1", "n": -2}']
    for start in range(0, 3000, 1000):
        river.produce(range(start, start + 1000))
        for value in poison:
            river.send(value, "k1", [("origin", b"test")])
    river.flush()
    river.worker()
    outcome = river.read(3000, 15)
    assert outcome.verdict(river.produced) == WELL, river.logs()
    assert sorted(x.value for x in outcome.letters) == sorted((v or b"") for v in poison * 3)
    assert {x.phase for x in outcome.letters} == {"decode", "features", "forward"}
    assert {(x.topic, x.key, x.headers[0].name, x.model_version) for x in outcome.letters} == {
        (river.events, b"k1", "origin", 1)
    }


def test_a_poisoned_deploy_stops_the_role_and_commits_nothing(river):
    for _ in range(1000):
        river.send(b'{"key": "k1", "n": -1}')
    river.flush()
    worker = river.worker(wait=False)
    assert worker.process.wait(WAIT_S) == 5, worker.tail()
    outcome = river.read(0, timeout=3)
    assert (outcome.predictions, outcome.letters, river.committed()) == ([], [], 0)


def test_a_trace_goes_on_to_the_prediction(river):
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    river.produce(range(10), headers=[("traceparent", trace)])
    river.produce(range(10, 20))
    river.worker()
    assert river.read(20).verdict(river.produced) == WELL


def test_at_least_once_loses_nothing(kafka, tmp_path):
    with PipelineRun(kafka, tmp_path, guarantee="at_least_once") as river:
        river.produce(range(5000))
        worker = river.worker()
        assert river.read(5000).verdict(river.produced) == WELL, river.logs()
        assert worker.stop() == 0
        assert river.committed() == 5000


def test_a_slow_model_keeps_its_membership_and_bounds_its_memory(river):
    river.produce(range(40_000))
    worker = river.worker(env={"NUMBERED_SLOW_MS": "800"}, round_records=2000, buffer_records=3000)
    wait_for(lambda: worker.metric("records_total") >= 8000, WAIT_S, "no progress")
    assert worker.metric("partitions") == 4
    assert worker.metric("aborts_total") == 0
    assert worker.stop() == 0
    outcome = river.read(8000)
    assert len(outcome.predictions) == river.committed()
    verdict = outcome.verdict(river.produced)
    assert verdict | {"unseen": 0} == WELL


def test_a_paused_worker_that_wakes_up_after_it_was_replaced_repeats_nothing(river):
    river.produce(range(4000))
    zombie = river.worker(round_records=500)
    wait_for(lambda: zombie.metric("records_total") == 4000, WAIT_S, "no progress")
    zombie.signal(signal.SIGSTOP)
    river.produce(range(4000, 8000))
    successor = river.worker(round_records=500, wait=False)
    wait_for(lambda: successor.metric("records_total") >= 4000, WAIT_S, "not taken over")
    zombie.signal(signal.SIGCONT)
    river.produce(range(8000, 10_000))
    assert river.read(10_000).verdict(river.produced) == WELL, river.logs()
