"""What the stream's benchmark makes of what it observed, and the schedule of its offer."""

import random

import numpy as np
import pytest
import torch

from benchmarks.stream.contestants import CONTESTANTS, OURS, TWO
from benchmarks.stream.figures import Figures, Latency, Sample, figures, median, memory, percentiles, ratio
from benchmarks.stream.latency import summary
from benchmarks.stream.offer import TICK_S, Offered, lateness_ms, schedule
from benchmarks.stream.report import Results
from benchmarks.stream.task.event import DIFFERENT, Event, make_events
from benchmarks.stream.task.mlp import features, make_network, one_by_one
from benchmarks.stream.terms import Terms, told

MIB = 2**20


def samples(*seen: tuple[float, int], rss: int = 100 * MIB) -> list[Sample]:
    """Samples whose processor time is half of the wall time."""
    return [Sample(at, done, at / 2, rss) for at, done in seen]


def test_rate_leaves_out_the_start_and_the_last_commit() -> None:
    """The first second is starting up, the last commit a timer's: between them are 600 records in 2 s."""
    found = figures(samples((1.0, 50), (2.0, 200), (3.0, 500), (4.0, 800), (9.0, 1000)), 1000)
    assert found.records_per_s == 300.0
    assert found.cpu_us_per_record == pytest.approx(1.0 / 600 * 1e6)
    assert (found.start_s, found.rss_mib) == (1.0, 100.0)


def test_rate_of_two_commits_counts_to_the_end() -> None:
    """Where no commit lies between, the last one is all there is."""
    assert figures(samples((1.0, 500), (2.0, 1000)), 1000).records_per_s == 500.0


def test_backlog_committed_at_once_has_no_rate() -> None:
    """A rate of one sample would be made up."""
    with pytest.raises(ValueError, match="too small a backlog"):
        figures(samples((1.0, 1000)), 1000)


def test_memory_line_that_rises_is_not_flat() -> None:
    """10 MiB a million records, over four million, above noise of 1 MiB."""
    noise, records = random.Random(0), 4_000_000
    rising = [
        Sample(n, n * 10_000, 0.0, int((100 + n / 10 + noise.uniform(-0.5, 0.5)) * MIB))
        for n in range(1, records // 10_000 + 1)
    ]
    found = memory(rising, records)
    assert found.slope_mib_per_million == pytest.approx(10.0, rel=0.05)
    assert not found.flat
    assert "not flat" in found.told()


def test_memory_line_within_its_noise_is_flat() -> None:
    """And what was held before the buffers were full does not count."""
    noise, records = random.Random(0), 1_000_000
    steady = [Sample(n, n * 1000, 0.0, int((100 + noise.uniform(-5, 5)) * MIB)) for n in range(100, 1001)]
    found = memory([Sample(0.0, 10, 0.0, MIB), *steady], records)
    assert found.flat
    assert abs(found.slope_mib_per_million) < 3


def test_ratio_is_the_median_over_rounds() -> None:
    """Each round is a pair that ran one after the other; a noisy one does not decide."""
    ours = [Figures(rate, 1, 1, 1) for rate in (100.0, 40.0, 300.0)]
    theirs = [Figures(rate, 1, 1, 1) for rate in (50.0, 40.0, 100.0)]
    assert ratio(ours, theirs) == 2.0
    assert median(ours).records_per_s == 100.0


def test_percentiles() -> None:
    """Of 1 to 1001 ms."""
    assert percentiles(np.arange(1, 1002, dtype=float)) == pytest.approx((501, 991, 1000, 1001))
    with pytest.raises(ValueError, match="nothing was read"):
        percentiles([])


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self, *stalls: float) -> None:
        self.now, self._stalls = 5.0, list(stalls)

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6) + (self._stalls.pop() if self._stalls else 0)


def test_offer_sends_every_event_once_and_in_time() -> None:
    """A tick's events are at most a tick late."""
    clock = Clock()
    ticks = list(schedule(10_000, 0.5, clock, clock.sleep))
    assert [n for _, due in ticks for n in due] == list(range(5000))
    assert lateness_ms(ticks, 10_000).max() <= TICK_S * 1000 + 0.1


def test_offer_that_stalls_catches_up_and_says_how_late_it_was() -> None:
    """Open loop: what became due meanwhile is sent at once."""
    clock = Clock(0.1)
    ticks = list(schedule(1000, 0.5, clock, clock.sleep))
    assert sum(len(due) for _, due in ticks) == 500
    assert 99 < lateness_ms(ticks, 1000).max() < 103


def test_summary_leaves_out_the_warm_up() -> None:
    """Four events, one before the second of warm-up is over, one never read."""
    offered = Offered(4, started_ms=1000, late_p99_ms=1, late_worst_ms=2, cores=0.1)
    found = summary(
        offered, np.array([1000, 2000, 2500]), np.array([1900.0, 2010.0, 2520.0]), rate=1, reader_cores=0.2, warm_up_s=1
    )
    assert (found.offered, found.read, found.worst) == (3, 2, 20.0)


def test_terms_survive_the_command_line() -> None:
    """What a contestant reads is what it was told."""
    terms = Terms("127.0.0.1:1", "bench.events", "bench.predictions", "g")
    assert told(terms.flags()) == terms


def test_one_event_at_a_time_is_predicted_as_in_a_batch() -> None:
    """The contestants that see single records have the same network."""
    dice = random.Random(1)
    events = [
        Event(str(n), *(dice.uniform(-1, 1) for _ in range(4)), *(dice.randrange(100) for _ in range(3)), "")
        for n in range(9)
    ]
    with torch.inference_mode():
        batch = make_network().eval()(features(events))[:, 0].tolist()
    assert [one_by_one()(event) for event in events] == pytest.approx(batch, rel=1e-4, abs=1e-5)


def test_events_are_the_same_every_time() -> None:
    """And as many different ones as promised."""
    assert make_events() == make_events()
    assert len(set(make_events())) == DIFFERENT


def test_results_name_every_ratio() -> None:
    """Ours by each other contestant, two processes by one, and ours by the bare loop for each kind of headers."""
    runs = {
        name: [Figures(rate, 1, 1, 1)]
        for name, rate in zip(CONTESTANTS, (50.0, 100.0, 20.0, 25.0, 2.0, 4.0), strict=True)
    }
    latency = Latency(1000, 10, 10, 1, 2, 3, 4, 0, 0, 0.1, 0.1)
    results = Results(
        0.1,
        dict.fromkeys(CONTESTANTS, 1000),
        runs,
        [Figures(150.0, 1, 1, 1)],
        {"floor": [latency], OURS.name: [latency]},
        headers={
            "headers": {"bare_loop": [Figures(50.0, 1, 1, 1)], OURS.name: [Figures(60.0, 1, 1, 1)]},
            "traceparent": {"bare_loop": [Figures(50.0, 1, 1, 1)], OURS.name: []},
        },
    )
    written = results.as_json()
    assert written["ratios"] == {
        "bare_loop": 2.0, "quix_exactly_once": 5.0, "arroyo": 4.0, "faust": 50.0, "faust_take": 25.0, TWO: 1.5,
        "headers": 1.2,
    }  # fmt: skip
    assert written["figures"]["headers"][OURS.name]["records_per_s"] == 60
    assert written["figures"]["traceparent"] == {"bare_loop": Figures(50.0, 1, 1, 1).as_dict()}
    assert written["figures"][OURS.name]["latency_ms"][0]["p999"] == 3
    assert written["figures"][OURS.name]["rounds_records_per_s"] == [100]
