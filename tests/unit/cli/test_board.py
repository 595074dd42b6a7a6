"""The board as text: no terminal needed."""

import io
from collections.abc import Sequence

import msgspec
import pytest
from rich.console import Console

from headrace.cli.views.board import Board
from headrace.cli.views.figures import sparklines
from headrace.cli.views.formats import clock, duration, number
from headrace.cli.views.one_line import plain
from headrace.contracts.snapshot import (
    Canary,
    Counts,
    Firing,
    Metrics,
    ModelStatus,
    Point,
    Quantiles,
    Rates,
    Score,
    Snapshot,
    Versions,
    Worker,
)  # fmt: skip
from headrace.launch.observe import LogLine, View
from headrace.launch.specs import RoleStatus, State

SNAPSHOT = Snapshot(
    pipeline="flights", at_us=0, started_us=0, error_unit="min", window=5000,
    counts=Counts(events=51_240, labels=48_900, predictions=51_234, joined=48_100, unpredicted=6),
    rates=Rates(1234, 1200, 1233),
    model=Score(12.81, 9.97),
    baselines={"median delay": Score(22.0, 21.4), "departure delay": Score(13.2, 13.01)},
    history=tuple(Point(i, i, 15 - i / 10, 13.0) for i in range(40)),
    versions=Versions(newest=18, active=17, serving=(17,), checkpoints=18, served=17, swaps=16),
    freshness=Quantiles(17, 1.2, 1.9), latency=Quantiles(100, 0.012, 0.08),
    lag={"stream": 6, "join": 0},
)  # fmt: skip
MODELS = (
    ModelStatus("flights", "champion", None, 46_112, 0, 45_000, Score(12.81, 9.97), Versions(serving=(17,))),
    ModelStatus("flights.wide", "canary", 0.1, 5_122, 0, 5_001, Score(12.5, 9.81), Versions(serving=(11,))),
    ModelStatus("flights.next", "shadow", None, 0, 0, 0),
)


def status(name: str, state: State = State.READY, restarts: int = 0, role: str = "") -> RoleStatus:
    return RoleStatus(name, role or name, 1, state, restarts, None, {}, 0.0)


ROLES = [status("trainer"), status("stream", State.STARTING, 2), status("replay", State.STARTING, role="produce")]
LOG = [LogLine("trainer", "info", f"checkpoint {i}") for i in range(50)]


def shown(
    snapshot: Snapshot | None = SNAPSHOT, roles: Sequence[RoleStatus] = ROLES, width: int = 100, height: int = 30
) -> str:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
    console.print(Board(View("demo flights", "running", 42.0, roles, snapshot, LOG)), height=height)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_numbers_that_matter_are_there() -> None:
    text = shown()
    for expected in (
        "demo flights", "running", "00:42", "51,240", "1,234/s", "51,234", "48,100", "17", "newest 18, 16 swaps",
        "1.2 s p50", "12 ms p50", "stream 6 · join 0", "0 duplicates", "0 missing", "mean error, min", "last 5,000",
        "9.97", "12.81", "13.01", "21.40",
    ):  # fmt: skip
        assert expected in text


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("height", [24, 40])
def test_it_fits_the_terminal(width: int, height: int) -> None:
    lines = shown(width=width, height=height).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert "checkpoint 49" in lines[-2] + lines[-1], "the newest log line is there"


def test_roles_show_their_state_and_restarts() -> None:
    text = shown()
    assert "◐ stream      starting ↻2" in text
    assert "● replay      replaying" in text


def test_before_the_monitor_answers_there_are_roles_and_logs() -> None:
    text = shown(snapshot=None)
    assert "trainer" in text
    assert "checkpoint 49" in text


def test_before_the_first_label_errors_are_dashes() -> None:
    text = shown(Snapshot("flights", 0, 0, baselines={"median": Score()}))
    assert "the model" in text
    assert "none yet" in text


def test_alerts_stand_out() -> None:
    alert = Firing("error_above_baseline", "WARNING", "error 14 min", 0)
    assert "⚠ error_above_baseline: error 14 min" in shown(Snapshot("flights", 0, 0, alerts=(alert,)))


@pytest.mark.parametrize("width", [80, 100])
def test_a_version_on_canaries_is_told_with_who_serves_it_and_for_how_long(width: int) -> None:
    workers = tuple(Worker(name, "stream", "h", "ACTIVE", 17, 0) for name in ("stream-0", "stream-1", "rpc-0", "rpc-1"))
    canary = Canary(18, ("rpc-0", "stream-1"), until_us=42_400_000)
    versions = msgspec.structs.replace(SNAPSHOT.versions, canary=canary)
    during = msgspec.structs.replace(SNAPSHOT, workers=workers, versions=versions)
    line = next(line for line in shown(during, width=width, height=24).splitlines() if "canary" in line)
    assert line.startswith(" canary         version 18 on 2 of 4 workers (rpc-0, stream-1), 42 s to go")
    assert "canary 18 on 2/4, 42 s to go |" in plain(View("up", "running", 42.0, ROLES, during))
    later = msgspec.structs.replace(during, at_us=50_000_000)
    assert "its time is up" in shown(later)
    assert "canary" not in shown() + plain(View("up", "running", 42.0, ROLES, SNAPSHOT))


def test_of_several_models_each_canary_is_named() -> None:
    versions = Versions(canary=Canary(12, tuple(f"w{n}" for n in range(5)), until_us=1_000_000))
    models = (MODELS[0], msgspec.structs.replace(MODELS[1], versions=versions))
    text = shown(msgspec.structs.replace(SNAPSHOT, models=models))
    assert "version 12 of flights.wide on 5 of 5 workers (w0, w1, w2, ...), 1 s to go" in text


def test_one_line_for_logs() -> None:
    line = plain(View("demo", "running", 42.0, ROLES, SNAPSHOT))
    assert line == (
        "00:42 running   ready 1/2 restarts 2 | events 51,240 (1,234/s) | predicted 51,234 (lag 6) | joined 48,100 | "
        "version 17 (newest 18) | error 9.97 vs median delay 21.40, departure delay 13.01 min | fresh 1.2 s"
    )


def test_trouble_on_the_sink_shouts() -> None:
    line = plain(View("demo", "running", 1.0, [], Snapshot("flights", 0, 0, counts=Counts(duplicates=2, missing=1))))
    assert line.endswith("DUPLICATES 2 MISSING 1")


def test_trends_share_one_scale_and_keep_the_beginning() -> None:
    falling, flat = sparklines([float(100 - i) for i in range(100)], [50.0] * 100, width=10)
    assert (len(falling), len(flat)) == (10, 10)
    assert (falling[0], falling[-1]) == ("█", "▁")
    assert set(flat) == {"▄"}
    assert sparklines([], [1.0]) == ["", "▁"]


def test_numbers_for_people() -> None:
    assert [number(None), number(9.966), number(1234.5)] == ["-", "9.97", "1,234"]
    assert [duration(0.0123), duration(1.25)] == ["12 ms", "1.2 s"]
    assert clock(3725.0) == "62:05"


BINARY = msgspec.structs.replace(
    SNAPSHOT, task="binary", error_name="log loss", error_unit="", baselines={"prior": Score(0.7, 0.69)},
    model=Score(0.41, 0.352),
    metrics={
        "model": Metrics(window={"log_loss": 0.352, "accuracy": 0.8412, "f1": 0.61, "auc": 0.901, "auc_error": 0.001}),
        "prior": Metrics(window={"log_loss": 0.69, "accuracy": 0.74, "f1": 0.0}),
    },
)  # fmt: skip


@pytest.mark.parametrize("width", [80, 100])
def test_a_tasks_metrics_stand_beside_the_baselines(width: int) -> None:
    text = shown(BINARY, width=width, height=32)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    for expected in (
        "log loss last 5,000 whole run over time",
        "the model 0.35 0.41",
        "last 5,000 accuracy f1 auc",
        "the model 0.841 0.610 0.901",
        "prior 0.740 0.000 -",
    ):
        assert any(line.startswith(expected) for line in lines), expected
    assert "mean error" not in text
    line = plain(View("up", "running", 42.0, ROLES, BINARY))
    assert "| log loss 0.35 vs prior 0.69 | accuracy 0.841, f1 0.610, auc 0.901 |" in line


def test_regression_looks_as_it_does_without_a_task() -> None:
    with_metrics = msgspec.structs.replace(SNAPSHOT, metrics={"model": Metrics(window={"mae": 9.97, "rmse": 20.0})})
    assert shown(with_metrics) == shown(SNAPSHOT)
    view = View("up", "running", 42.0, ROLES, with_metrics)
    assert plain(view) == plain(View("up", "running", 42.0, ROLES, SNAPSHOT))


def test_several_models_stand_one_below_the_other() -> None:
    several = msgspec.structs.replace(SNAPSHOT, models=MODELS)
    lines = [" ".join(line.split()) for line in shown(several).splitlines()]
    for expected in (
        "as served 9.97 12.81",
        "model role version predictions joined last 5,000 whole run",
        "flights champion 17 46,112 45,000 9.97 12.81",
        "flights.wide canary 0.1 11 5,122 5,001 9.81 12.50",
        "flights.next shadow - 0 0 - -",
    ):
        assert any(line.startswith(expected) for line in lines), expected
    line = plain(View("up", "running", 42.0, ROLES, several))
    assert "flights (champion) 9.97, flights.wide (canary 0.1) 9.81, flights.next (shadow) -" in line
    assert "flights.next" not in shown()


def test_the_pages_address_stands_first_once_the_gateway_answers() -> None:
    at = {"rest": "http://127.0.0.1:8080"}
    gateway = with_address("gateway", State.STARTING, at)
    assert "comes with the gateway" in shown(roles=[*ROLES, gateway]).splitlines()[1]
    ready = with_address("gateway", State.READY, at)
    assert "the page http://127.0.0.1:8080" in shown(roles=[*ROLES, ready]).splitlines()[1]


def with_address(name: str, state: State, endpoints: dict[str, str]) -> RoleStatus:
    return RoleStatus(name, name, 1, state, 0, None, endpoints, 0.0)
