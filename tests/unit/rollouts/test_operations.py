"""What an operator's request has come to, by the directives and reports read since."""

from headrace.contracts.events_pb2 import Operation, WeightsApplied
from headrace.rollouts.directives import position_of
from headrace.rollouts.operations import OperatedModel
from tests.directive_kit import MODEL, directive


def told(*directives) -> OperatedModel:
    model = OperatedModel(MODEL)
    for one in directives:
        model.on_directive(one)
    return model


def report(worker: str, state: str, version: int, model: str = MODEL) -> WeightsApplied:
    return WeightsApplied(model=model, worker=worker, state=WeightsApplied.State.Value(state), version=version)


ACTIVE = directive("ACTIVATE", 5, 10)
REQUEST = Operation(id="mine", model=MODEL, kind=Operation.ROLL_BACK)


def test_a_request_is_answered_by_what_the_fleet_is_told_to_serve_after_it() -> None:
    model, since = told(ACTIVE), position_of(ACTIVE)
    assert not model.answered(REQUEST, since)
    for earlier in (ACTIVE, directive("STAGE", 4, 11), directive("ACTIVATE", 9, 12, model="other")):
        model.on_directive(earlier)
        assert not model.answered(REQUEST, since)
    model.on_directive(directive("ROLL_BACK", 4, 13, pinned=True))
    assert model.answered(REQUEST, since)
    assert model.refusal(REQUEST) is None
    assert (model.view.active_version, model.view.pinned) == (4, True)


def test_a_refusal_answers_only_the_request_that_it_names() -> None:
    model = told(ACTIVE, directive("REFUSE", 9, 11, operation_id="another", reason="no"))
    assert not model.answered(REQUEST, position_of(ACTIVE))
    model.on_directive(directive("REFUSE", 9, 12, operation_id="mine", reason="version 9 is not kept"))
    assert model.answered(REQUEST, position_of(ACTIVE))
    assert model.refusal(REQUEST) == "version 9 is not kept"


def test_what_was_given_up_since_the_request_is_named_and_what_was_given_up_before_is_not() -> None:
    model = told(directive("RETIRE", 3, 9, reason="old"), ACTIVE)
    assert model.given_up(position_of(ACTIVE)) == ""
    model.on_directive(directive("RETIRE", 4, 11, reason="refused by a"))
    assert model.given_up(position_of(ACTIVE)) == "version 4 was given up: refused by a"


def test_the_fleet_follows_once_every_connected_worker_serves_the_version() -> None:
    model = told(ACTIVE)
    assert model.serves(4)
    for one in (report("a", "HEARTBEAT", 5), report("b", "HEARTBEAT", 5), report("c", "HEARTBEAT", 5, "other")):
        model.on_report(one)
    model.on_report(report("a", "ACTIVE", 4))
    model.on_report(report("b", "FAILED", 4))
    assert not model.serves(4)
    assert [(w.newest.worker, w.version) for w in model.workers] == [("a", 4), ("b", 5)]
    model.on_report(report("b", "LEFT", 5))
    assert model.serves(4)


def test_a_new_versions_activation_does_not_answer_a_roll_back_and_a_pin_does_not_answer_a_resume() -> None:
    model, since = told(ACTIVE), position_of(ACTIVE)
    resume = Operation(id="mine", model=MODEL, kind=Operation.RESUME)
    model.on_directive(directive("ACTIVATE", 6, 11))
    assert not model.answered(REQUEST, since)
    model.on_directive(directive("ROLL_BACK", 5, 12, pinned=True))
    assert model.answered(REQUEST, since)
    assert not model.answered(resume, since)
    model.on_directive(directive("ACTIVATE", 5, 13))
    assert model.answered(resume, since)


def test_a_deploy_is_answered_by_the_directive_that_names_it_on_canaries_or_everywhere() -> None:
    model, since = told(ACTIVE), position_of(ACTIVE)
    everywhere = Operation(id="mine", model=MODEL, kind=Operation.DEPLOY, version=6)
    share = Operation(id="mine", model=MODEL, kind=Operation.DEPLOY, version=6, canary_share=0.5)
    model.on_directive(directive("ACTIVATE", 7, 11))
    assert not model.answered(everywhere, since)
    model.on_directive(directive("CANARY", 6, 12, canaries=["a"], operation_id="mine"))
    assert model.answered(share, since)
    assert not model.answered(everywhere, since)
    model.on_directive(directive("ACTIVATE", 6, 13, operation_id="mine"))
    assert model.answered(everywhere, since)


def test_the_fleet_follows_a_canary_when_each_worker_serves_what_it_is_meant_to() -> None:
    model = told(ACTIVE, directive("CANARY", 6, 11, canaries=["a"]))
    for one in (report("a", "HEARTBEAT", 5), report("b", "HEARTBEAT", 5)):
        model.on_report(one)
    assert not model.followed()
    model.on_report(report("a", "ACTIVE", 6))
    assert model.followed()
