"""What a rollout does about versions that are held, and about operators' requests to deploy one."""

from headrace.contracts.events_pb2 import CheckpointPublished, Operation, RolloutDirective
from headrace.rollouts.directives import ACTIVATE, CANARY, REFUSE, RETIRE
from services.ckpt.coordinator.service import Rollout
from tests.rollout_kit import POLICY, alert, applied, checkpoint, newest, operation, rollout, steps


def held(version: int) -> CheckpointPublished:
    made = checkpoint(version)
    made.held = True
    return made


def deploy(version: int, name: str, share: float = 0.0) -> Operation:
    made = operation("DEPLOY", version, name)
    made.canary_share = share
    return made


def with_held(workers: tuple[str, ...] = ("a", "b", "c")) -> Rollout:
    """A fleet that serves 3; 4 is held, and 5 comes after it."""
    made = rollout(workers=workers, active=3)
    made.on_checkpoint(held(4))
    made.on_checkpoint(checkpoint(5))
    return made


def staged(made: Rollout, version: int, workers: tuple[str, ...] = ("a", "b", "c")) -> list[RolloutDirective]:
    for worker in workers:
        made.on_applied(applied(worker, "STAGED", version), 1.0)
    return made.decide(1.0)


def test_a_held_version_and_those_after_it_wait_and_it_is_kept_however_many_come():
    made = with_held()
    assert made.decide(0.0) == []
    for version in range(6, 30):
        made.on_checkpoint(checkpoint(version))
        assert made.decide(0.0) == []
    assert 4 in made.ledger.checkpoints
    made.on_operation(deploy(4, "now"))
    assert steps(made.decide(0.0)) == [("STAGE", 4)]


def test_versions_before_a_held_one_are_rolled_out_as_ever():
    made = rollout(workers=("a",), active=3)
    made.on_checkpoint(checkpoint(4))
    made.on_checkpoint(held(5))
    assert steps(made.decide(0.0)) == [("STAGE", 4)]


def test_deployed_to_all_it_serves_and_those_after_it_follow():
    made = with_held()
    made.on_operation(deploy(4, "all"))
    made.decide(0.0)
    directives = staged(made, 4)
    assert steps(directives) == [("ACTIVATE", 4), ("STAGE", 5)]
    assert directives[0].operation_id == "all"


def test_deployed_to_canaries_it_stays_there_until_the_operator_goes_on():
    made = with_held()
    made.on_operation(deploy(4, "some", 0.4))
    made.decide(0.0)
    (directive,) = staged(made, 4)
    assert (directive.action, directive.operation_id, directive.canary_until_us) == (CANARY, "some", 0)
    assert len(directive.canaries) == 2
    for worker in ("a", "b", "c"):
        made.on_applied(applied(worker, "HEARTBEAT", 4 if worker in directive.canaries else 3), 9e8)
    assert made.decide(9e8) == []
    made.on_operation(deploy(4, "all"))
    directives = made.decide(9e8)
    assert steps(directives) == [("ACTIVATE", 4), ("STAGE", 5)]
    assert directives[0].operation_id == "all"


def test_an_alert_takes_it_from_the_canaries_and_pins_what_serves_until_an_operator_resumes():
    made = with_held()
    made.on_operation(deploy(4, "some", 0.4))
    made.decide(0.0)
    staged(made, 4)
    made.on_alert(alert(4), 2.0)
    directives = made.decide(2.0)
    assert steps(directives) == [("RETIRE", 4), ("ROLL_BACK", 3)]
    assert directives[0].operation_id == "some"
    assert directives[1].pinned
    made.on_operation(operation("RESUME"))
    assert steps(made.decide(2.0)) == [("ACTIVATE", 3), ("STAGE", 5)]


def test_refused_by_the_workers_it_is_given_up_and_what_serves_is_pinned():
    made = with_held()
    made.on_operation(deploy(4, "all"))
    made.decide(0.0)
    for worker in ("a", "b", "c"):
        made.on_applied(applied(worker, "FAILED", 4), 1.0)
    directives = made.decide(1.0)
    assert steps(directives) == [("RETIRE", 4), ("ROLL_BACK", 3)]
    assert (directives[0].operation_id, made.view.pinned) == ("all", True)
    made.on_operation(deploy(4, "again"))
    (refusal,) = made.decide(1.0)
    assert (refusal.action, refusal.reason) == (REFUSE, "version 4 was refused")


def test_resuming_passes_over_what_is_held():
    made = with_held()
    made.on_operation(operation("RESUME"))
    assert steps(made.decide(0.0)) == [("ACTIVATE", 3), ("STAGE", 5)]


def test_what_an_operator_deploys_is_given_up_when_an_operator_rolls_back():
    made = with_held()
    made.on_operation(deploy(4, "some", 0.4))
    made.decide(0.0)
    staged(made, 4)
    made.on_operation(operation("ROLL_BACK", 3, "back"))
    directives = made.decide(1.0)
    assert steps(directives) == [("RETIRE", 4), ("ROLL_BACK", 3)]
    assert directives[0].operation_id == "some"


def test_a_successor_goes_on_with_a_deployment_at_each_point():
    made = with_held()
    log = list(made.decide(0.0))
    made.on_operation(deploy(4, "some", 0.4))
    log += made.decide(0.0)
    heir = heir_of(made, log)
    (canary,) = staged(heir, 4)
    assert (canary.action, canary.operation_id, canary.canary_until_us) == (CANARY, "some", 0)
    log.append(canary)
    last = heir_of(heir, log)
    for worker in ("a", "b", "c"):
        last.on_applied(applied(worker, "HEARTBEAT", 4 if worker in canary.canaries else 3), 9e8)
    assert last.decide(9e8) == []
    assert last.judge.canary is not None
    last.on_alert(alert(4), 9e8)
    directives = last.decide(9e8)
    assert directives[0].action == RETIRE
    assert last.view.pinned


def heir_of(made: Rollout, log: list[RolloutDirective]) -> Rollout:
    heir = Rollout("m", epoch=2, policy=POLICY)
    heir.restore(newest([*log_of_active(made), *log]), 0.0)
    for version in (1, 2, 3, 5):
        heir.on_checkpoint(checkpoint(version))
    heir.on_checkpoint(held(4))
    for worker in ("a", "b", "c"):
        heir.on_applied(applied(worker, "JOINED", 3), 0.0)
    return heir


def log_of_active(made: Rollout) -> list[RolloutDirective]:
    assert made.view.active is not None
    return [made.view.active]


def test_the_first_version_of_all_is_deployed_without_canaries():
    made = rollout(workers=("a",))
    made.on_checkpoint(held(1))
    assert made.decide(0.0) == []
    made.on_operation(deploy(1, "first"))
    made.decide(0.0)
    (directive,) = staged(made, 1, ("a",))
    assert (directive.action, directive.version) == (ACTIVATE, 1)


def test_deployments_that_cannot_be_are_refused_with_the_reason():
    made = with_held(("a",))
    for request in (deploy(4, "lonely", 0.5), deploy(2, "old"), deploy(77, "new"), deploy(4, "")):
        made.on_operation(request)
    why = {d.operation_id: d.reason for d in made.decide(0.0)}
    assert why["lonely"] == "canaries take two workers or more: 1 serve"
    assert why["old"] == "version 2 is older than the active 3: roll back to it"
    assert why["new"].startswith("version 77 is not kept any more, or never was")
    assert why[""] == "a request to deploy needs an id"
