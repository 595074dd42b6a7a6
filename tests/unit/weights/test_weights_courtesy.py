"""Giving way: staging waits for requests, and not for ever."""

import threading

from headrace.weights.worker import staging_throttle
from headrace.weights.worker.staging_throttle import StagingThrottle
from tests.patience import WAIT_S


def test_it_waits_until_the_last_lease_ends():
    """And goes on at once then."""
    lock, went_on = threading.Lock(), threading.Event()
    one = StagingThrottle(lock, wait_s=60, budget_s=60)
    with lock:
        one.admitted()
        one.admitted()

    def give_way() -> None:
        one.give_way()
        went_on.set()

    thread = threading.Thread(target=give_way)
    thread.start()
    with lock:
        one.released()
    assert not went_on.wait(0.01)
    with lock:
        one.released()
    assert went_on.wait(WAIT_S)
    thread.join()


def test_leases_that_never_end_hold_staging_up_for_no_longer_than_the_budget():
    """A pause has its own limit, and all pauses of one staging have one together; the next staging has it anew."""
    lock = threading.Lock()
    one = StagingThrottle(lock, wait_s=0.001, budget_s=0.003)
    with lock:
        one.admitted()
    one.begin()
    pauses = 0
    while one.left_s > 0:
        one.give_way()
        pauses += 1
    assert 1 <= pauses <= 3
    one.give_way()
    one.begin()
    assert one.left_s == 0.003


def test_nobody_serving_is_nobody_to_wait_for():
    """The budget is whole after it."""
    one = StagingThrottle(threading.Lock(), wait_s=60, budget_s=60)
    one.give_way()
    assert one.left_s > 59
    staging_throttle.at_once()
