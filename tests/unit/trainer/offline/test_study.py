"""A study finds better settings, and goes on after it was stopped with no trial lost and none done twice."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime.errors import ConfigError
from headrace.training.job import TrainingJob
from headrace.training.study import Axis, StudyJob, StudyReport, nested
from tests.line_kit import write_toy
from tests.patience import WAIT_S, wait_for


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., StudyJob]:
    """A study of the toy's learning rate, whose own is far too low."""

    def study(**asked: Any) -> StudyJob:
        rng = random.Random(5)
        xs = [rng.uniform(-1, 1) for _ in range(400)]
        for name, field in (("events", "x"), ("labels", "y")):
            rows = [{"id": f"k{i}", field: x if field == "x" else 2 * x + 0.5} for i, x in enumerate(xs)]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        training = TrainingJob(
            pipeline=str(write_toy(tmp_path / "toy", learning_rate=1e-5)), folder=str(tmp_path / "study"), data="files",
            events=str(tmp_path / "events.jsonl"), labels=str(tmp_path / "labels.jsonl"),
            epochs=asked.pop("epochs", 2), validation=0.2,
        )  # fmt: skip
        space = asked.pop("space", ("learning_rate=0.001..0.1:log", "schedule.start=1..4"))
        return StudyJob(training=training, space=tuple(map(Axis.of, space)), **asked)

    return study


@contextmanager
def started(job: StudyJob) -> Iterator["subprocess.Popen[bytes]"]:
    path = Path(job.training.folder).with_suffix(".json")
    path.write_bytes(msgspec.json.encode(job))
    process = subprocess.Popen(
        [sys.executable, "-m", "services.trainer.offline.study", str(path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            process.kill()


def do(job: StudyJob) -> tuple[int, dict[str, Any]]:
    with started(job) as process:
        assert process.stdout is not None
        last = [json.loads(line) for line in process.stdout][-1]
        return process.wait(WAIT_S), last


def test_it_finds_better_settings_and_shows_them(make: Callable[..., StudyJob], tmp_path: Path) -> None:
    code, said = do(make(trials=8, workers=2, space=("learning_rate=0.001..0.1:log", "batch_size=16,64")))
    report = msgspec.convert(said["summary"], StudyReport, strict=False)
    assert code == 0
    assert len(report.trials) == 8
    assert report.first.settings == {}
    assert report.best.error is not None
    assert report.first.error is not None
    assert report.best.error < 0.7 * report.first.error
    assert report.test["best"] is not None
    assert report.test["first"] is not None
    assert report.test["best"] < report.test["first"]
    tried = [json.dumps(trial.settings, sort_keys=True) for trial in report.trials]
    assert len(set(tried)) == len(tried)
    assert all(Path(plot).read_bytes().startswith(b"\x89PNG") for plot in report.plots)
    assert not list((tmp_path / "study").glob("trial-*"))


def test_killed_it_goes_on_with_what_is_left(make: Callable[..., StudyJob], tmp_path: Path) -> None:
    job = make(trials=6, epochs=40, prune=False)
    with started(job) as process:
        wait_for(lambda: len(list((tmp_path / "study").glob("trial-[2-9]"))) > 0)
        process.send_signal(signal.SIGKILL)
        process.wait(WAIT_S)
    code, said = do(job)
    assert code == 0, said
    report = msgspec.convert(said["summary"], StudyReport, strict=False)
    assert [trial.state for trial in report.trials] == ["complete"] * 6
    assert [trial.epochs for trial in report.trials] == [40] * 6


def test_an_unknown_setting_is_named(make: Callable[..., StudyJob]) -> None:
    code, said = do(make(trials=3, space=("learning_rat=1..2",)))
    assert code == 2
    assert "learning_rat" in said["error"]


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("a=1..8", Axis("a", 1, 8, whole=True)), ("a=0.1..8", Axis("a", 0.1, 8)),
        ("a.b=1e-4..1:log", Axis("a.b", 1e-4, 1, log=True)),
        ("a=16,32", Axis("a", choices=(16, 32))), ("a=cosine,constant", Axis("a", choices=("cosine", "constant"))),
        ("a=null,0.9", Axis("a", choices=(None, 0.9))),
    ],
)  # fmt: skip
def test_an_axis_is_read(text: str, axis: Axis) -> None:
    assert Axis.of(text) == axis


@pytest.mark.parametrize("text", ["a", "a=", "=1..2", "a=2..1", "a=0..1:log", "a=1..", "a=x..y", "a=1..2:lin"])
def test_an_axis_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--space"):
        Axis.of(text)


def test_names_with_dots_are_objects() -> None:
    assert nested({"a": 1, "b.c": 2, "b.d": 3}) == {"a": 1, "b": {"c": 2, "d": 3}}
