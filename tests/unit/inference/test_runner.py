"""Running one model on a batch: every event has its own result, whatever its neighbours do."""

import pytest
import torch

from headrace.streams.isolation import TooManyBadError
from headrace.weights import StaticWeights
from services.inference.runner import Failed, ModelRunner, Predicted, Results, StepError
from tests.runner_kit import FAILS_AT, NAN, Steep, Times, events, runner


def run(made: ModelRunner, values: list[float], most_bad: int = 64, **options) -> Results:
    with made.lease() as bound:
        return made.run(bound, events(values), most_bad=most_bad, **options)


def test_every_event_is_predicted_in_its_place() -> None:
    results = run(runner(), [float(i) for i in range(1000)])
    assert results.values == [2.0 * i for i in range(1000)]
    assert results.failed == {}
    assert list(results)[3] == Predicted(6.0)


@pytest.mark.parametrize("step", FAILS_AT)
@pytest.mark.parametrize("place", [0, 1, 499, 998, 999])
def test_of_one_bad_event_among_many_only_it_fails_and_its_step_and_error_are_told(step: str, place: int) -> None:
    values = [float(i) for i in range(1000)]
    values[place] = FAILS_AT[step]
    results = run(runner(), values)
    assert list(results.failed) == [place]
    failed = results.failed[place]
    assert (failed.step, type(failed.error), str(failed.error)) == (step, ValueError, f"not at {step}")
    assert [v for i, v in enumerate(results.values) if i != place] == [2.0 * i for i in range(1000) if i != place]
    assert results.values[place] is None


def test_bad_events_of_every_step_in_one_batch_each_have_their_own_reason() -> None:
    values = [FAILS_AT["features"], 1.0, NAN, FAILS_AT["forward"], 2.0, FAILS_AT["predictions"], 3.0]
    results = run(runner(), values)
    assert {i: failed.step for i, failed in results.failed.items()} == {
        0: "features", 2: "forward", 3: "forward", 5: "predictions",
    }  # fmt: skip
    assert list(results.failed) == [0, 2, 3, 5]
    assert results.values == [None, 2.0, None, None, 4.0, None, 6.0]


@pytest.mark.parametrize(
    ("model", "bad", "failed"),
    [
        (Times(), NAN, Failed("forward", "the network's output is NaN or infinite")),
        (Steep(), 1e7, Failed("predictions", "the prediction is NaN or infinite")),
    ],
)
def test_what_is_not_finite_fails_without_a_second_pass(model: Times, bad: float, failed: Failed) -> None:
    results = run(runner(model), [1.0, bad, 3.0])
    assert results == Results([2.0, None, 6.0], {1: failed})
    assert model.asked == [3]


def test_more_bad_events_than_are_worth_finding_end_the_search() -> None:
    with pytest.raises(TooManyBadError) as caught:
        run(runner(), [FAILS_AT["features"]] * 100, most_bad=5)
    cause = caught.value.__cause__
    assert isinstance(cause, StepError)
    assert str(cause) == "features raises ValueError: not at features"


def test_the_caller_is_told_once_that_the_batch_failed_before_it_is_halved_and_may_stop_it() -> None:
    model, told = Times(), []
    run(runner(model), [1.0, FAILS_AT["forward"]], on_error=told.append)
    assert [error.step for error in told] == ["forward"]

    def stop(error: StepError) -> None:
        raise RuntimeError("stop")

    model = Times()
    with pytest.raises(RuntimeError, match="stop"):
        run(runner(model), [1.0, FAILS_AT["forward"]], on_error=stop)
    assert model.asked == [2]


def test_only_batches_that_were_predicted_at_once_are_remembered() -> None:
    seen: list[torch.Tensor] = []
    made = runner(remember=seen.append)
    run(made, [1.0, FAILS_AT["features"], 3.0])
    assert seen == []
    run(made, [1.0, 2.0])
    assert [features.tolist() for features in seen] == [[[1.0], [2.0]]]


def test_a_pass_has_at_most_max_batch_rows() -> None:
    made, sizes = runner(max_batch=8), []
    with made.lease() as bound:
        bound.network.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    assert run(made, [float(i) for i in range(10)]).values == [2.0 * i for i in range(10)]
    assert sizes == [8, 8]


@pytest.mark.parametrize("step", ["features", "the network", "predictions"])
def test_a_model_that_returns_another_number_of_rows_fails_at_that_step(step: str) -> None:
    class Short(Times):
        def features(self, events):
            return super().features(events)[: -1 if step == "features" else None]

        def predictions(self, outputs):
            return super().predictions(outputs)[: -1 if step == "predictions" else None]

    made = runner(Short())
    with made.lease() as bound:
        if step == "the network":
            bound.network.register_forward_hook(lambda _, __, outputs: outputs[:-1])
        with pytest.raises(StepError, match=f"{step} returned 2 .* for 3 events"):
            made.at_once(bound, events([1.0, 2.0, 3.0]))


def test_a_batch_keeps_the_version_of_its_lease() -> None:
    weights = StaticWeights(Times(2).network(), model="toy", version=7)
    made = runner(weights=weights)
    with made.lease() as bound:
        weights.swap(Times(5).network(), 8)
        assert made.run(bound, events([1.0]), most_bad=0).values == [2.0]
    with made.lease() as bound:
        assert (bound.version, made.run(bound, events([1.0]), most_bad=0).values) == (8, [5.0])


def test_steps_taken_one_by_one_make_what_run_makes() -> None:
    made, values = runner(), [1.0, NAN, 3.0]
    with made.lease() as bound, torch.inference_mode():
        by_step = made.predictions(made.outputs(bound, made.features(events(values))))
    assert by_step == run(made, values)


def test_results_of_single_ones_are_the_same_in_columns() -> None:
    single = [Predicted(1.0), Failed("forward", "no"), Predicted(None)]
    columns = Results.of(single)
    assert columns == Results([1.0, None, None], {1: Failed("forward", "no")})
    assert list(columns) == single
    assert list(Results.all_failed(Failed("forward", "no"), 2)) == [Failed("forward", "no")] * 2
