"""What the serving benchmark makes of what it measured."""

import os
from dataclasses import replace

import pytest

from benchmarks.serving.cell import Figures
from benchmarks.serving.cores import Cores, divide
from benchmarks.serving.results import Results, median


def figures(rate: float, p99: float = 1.0) -> Figures:
    return Figures(rate, 0.5, p99, 2.0, cpu_us=50.0, load_busy=0.4, load_us=10.0, others=0.0, answered=100, decoded=2)


def results(**rates: list[float]) -> Results:
    """Rounds of gRPC with 16 in flight."""
    made = Results("cores", 1)
    for name, rounds in rates.items():
        for rate in rounds:
            made.add(("grpc", 16, 1), name, figures(rate))
    return made


def test_ratio_is_the_median_of_pairs_that_ran_one_after_the_other() -> None:
    """A minute in which the machine was slow for both does not decide."""
    found = results(ours=[100.0, 40.0, 300.0], triton=[50.0, 40.0, 100.0]).ratios()
    assert found == {"triton_grpc_16": 2.0}


def test_ratio_beside_mlserver_is_the_least_of_its_transports() -> None:
    """Ours must be ahead in both."""
    made = results(ours=[400.0], mlserver=[100.0])
    made.add(("json", 16, 1), "ours", figures(300.0))
    made.add(("json", 16, 1), "mlserver", figures(100.0))
    assert made.ratios()["mlserver"] == 3.0


def test_ratios_of_latencies() -> None:
    """p99 with swaps by p99 without; ours by Triton's."""
    made = Results("cores", 1)
    made.swaps = [(figures(1, p99=2.0), figures(1, p99=2.2)), (figures(1, p99=2.0), figures(1, p99=3.0))]
    made.half_load = {"ours": [figures(1, p99=2.0)], "triton": [figures(1, p99=4.0)]}
    assert made.ratios() == {"p99_half_load_over_triton": 0.5, "p99_swap_over_steady": pytest.approx(1.3)}


def test_ratio_of_processor_time_is_theirs_by_ours() -> None:
    """Above 1 where ours takes less, as with the other ratios."""
    made = results(ours=[100.0])
    made.add(("grpc", 16, 1), "triton", replace(figures(50.0), cpu_us=75.0))
    assert made.cpu_ratios() == {"triton_grpc_16_batch_1": 1.5}


def test_median_is_of_each_figure() -> None:
    assert median([figures(1, 9.0), figures(5, 1.0), figures(3, 2.0)]) == figures(3, 2.0)


def test_load_has_cores_of_its_own_where_there_are_some() -> None:
    """A quarter of them; and all are shared where that is asked for."""
    mine = sorted(os.sched_getaffinity(0))
    found = divide()
    assert sorted({*found.servers, *found.load}) == mine
    assert found.shared == (len(mine) == 1)
    assert divide(shared=True) == Cores(tuple(mine), tuple(mine))
