"""Whatever is told to a rollout, in whatever order, with takeovers in between: what always holds."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective
from headrace.rollouts.directives import ACTIVATE, CANARY, REFUSE, RETIRE, ROLL_BACK, STAGE
from headrace.rollouts.view import RolloutView
from services.ckpt.coordinator.policy import Policy
from services.ckpt.coordinator.service import Rollout
from tests.rollout_kit import alert, applied, checkpoint, newest, operation


def told(view: RolloutView) -> dict[str, Any]:
    """What a view says to those who read it."""
    named = {name: getattr(view, name) for name in ("active", "canary", "staged", "prepared")}
    versions = {name: directive and directive.version for name, directive in named.items()}
    return {**versions, "position": view.position, "pinned": view.pinned, "before": view.previous_version,
            "refused": view.refused, "meant": [view.meant_for(name) for name in ("a", "b", "c")]}  # fmt: skip


def digest(going_on: Any) -> str | None:
    """The version of a staging or trial; None where there is none."""
    return None if going_on is None else going_on.digest


class AnyRollout(RuleBasedStateMachine):
    """Whatever happens, in whatever order, takeovers included."""

    def __init__(self):
        super().__init__()
        self.log: list[RolloutDirective] = []
        self.published: list[CheckpointPublished] = []
        self.now = 0.0
        self.epoch = 1
        policy = Policy(
            quorum="majority", stage_timeout_s=3.0, keep=4, canary_share=0.3, canary_s=2.0, activate_grace_s=0.5
        )
        self.rollout = Rollout("m", epoch=1, policy=policy)
        self.asked_back: set[int] = set()
        self.any_back = False

    workers = st.sampled_from(["a", "b", "c"])

    @rule(version=st.integers(1, 12), epoch=st.integers(1, 3))
    def publish(self, version, epoch):
        event = checkpoint(version, epoch)
        self.published.append(event)
        self.rollout.on_checkpoint(event)

    @rule(worker=workers, state=st.sampled_from(["JOINED", "ACTIVE", "LEFT", "HEARTBEAT"]), version=st.integers(0, 12))
    def report(self, worker, state, version):
        self.rollout.on_applied(applied(worker, state, version), self.now)

    @rule(worker=workers, state=st.sampled_from(["STAGED", "STAGED", "FAILED"]))
    def acknowledge(self, worker, state):
        if self.rollout.staging:
            version = int(self.rollout.staging.digest[1:])
            self.rollout.on_applied(applied(worker, state, version), self.now)

    @rule(worker=workers, state=st.sampled_from(["ACTIVE", "ACTIVE", "FAILED"]), while_serving=st.booleans())
    def serve(self, worker, state, while_serving):
        trial = self.rollout.judge.canary or self.rollout.judge.active
        if trial:
            version = int(trial.digest[1:])
            self.rollout.on_applied(applied(worker, state, version, while_serving=while_serving), self.now)

    @rule(back=st.integers(0, 2))
    def alarm(self, back):
        canary, view = self.rollout.judge.canary, self.rollout.view
        serving = int(canary.digest[1:]) if canary else view.active_version
        self.rollout.on_alert(alert(max(0, serving - back)), self.now)

    @rule(version=st.integers(0, 12))
    def roll_back(self, version):
        self.any_back |= version == 0
        self.asked_back.add(version)
        self.rollout.on_operation(operation("ROLL_BACK", version))

    @rule()
    def resume(self):
        self.rollout.on_operation(operation("RESUME"))

    @rule(seconds=st.floats(0.1, 6.0))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def decide(self):
        made = self.rollout.decide(self.now)
        for directive in made:
            directive.issued_at_us = int(self.now * 1e6)
        self.log += made

    @rule()
    def take_over(self):
        self.decide()
        self.epoch += 1
        old, self.rollout = self.rollout, Rollout("m", epoch=self.epoch, policy=self.rollout.policy)
        self.rollout.restore(newest(self.log), self.now)
        for event in self.published:
            self.rollout.on_checkpoint(event)
        for name, worker in old.fleet.alive.items():
            self.rollout.on_applied(applied(name, "HEARTBEAT", worker.reported.version), self.now)
        heir = self.rollout
        assert told(heir.view) == told(old.view)
        assert digest(heir.judge.canary) == digest(old.judge.canary)
        assert digest(heir.staging) == digest(old.staging)
        assert old.judge.active is None or digest(heir.judge.active) == digest(old.judge.active)

    @invariant()
    def a_reader_of_every_directive_and_one_of_the_compacted_topic_see_what_the_coordinator_decided(self):
        for read in (self.log, newest(self.log)):
            view = RolloutView("m")
            assert all(view.apply(directive) for directive in read)
            assert told(view) == told(self.rollout.view)

    @invariant()
    def sequences_rise_by_one_and_epochs_never_fall(self):
        assert [d.sequence for d in self.log] == list(range(1, len(self.log) + 1))
        epochs = [d.coordinator_epoch for d in self.log]
        assert epochs == sorted(epochs)

    @invariant()
    def the_active_version_goes_back_only_when_an_operator_says_so_or_it_is_refused(self):
        active = 0
        for directive in self.log:
            if directive.action == ACTIVATE:
                assert directive.version >= active
                assert not directive.pinned
            elif directive.action == ROLL_BACK and directive.cause == "operator":
                assert directive.version <= active
                assert directive.pinned
                assert self.any_back or directive.version in self.asked_back
            elif directive.action == ROLL_BACK:
                assert directive.version < active
                assert not directive.pinned
                refused = {r.version for r in directive.refusals.refused}
                assert active in refused
                assert directive.version not in refused
            if directive.action in {ACTIVATE, ROLL_BACK}:
                active = directive.version

    @invariant()
    def at_most_one_version_is_staged_or_on_canaries_and_none_while_pinned_but_to_go_back(self):
        staged, canary, pinned, active = None, None, False, 0
        for directive in self.log:
            if directive.action == STAGE:
                assert (staged, canary) == (None, None)
                assert not pinned or directive.version < active
                staged = directive.version
            elif directive.action == CANARY:
                assert directive.version in {staged, canary}
                assert directive.version > active
                staged, canary = None, directive.version
            elif directive.action == RETIRE:
                assert directive.version == (canary if directive.canaries else staged)
                staged = canary = None
            elif directive.action != REFUSE:
                if directive.version in {staged, canary}:
                    staged = canary = None
                pinned, active = directive.pinned, directive.version

    @invariant()
    def nothing_refused_for_what_it_did_serves_again_by_itself(self):
        refused: set[int] = set()
        for directive in self.log:
            if directive.action in {STAGE, CANARY, ACTIVATE} and not self.asked_back:
                assert directive.version not in refused
            refused |= {r.version for r in directive.refusals.refused if r.served}

    @invariant()
    def what_is_served_and_staged_can_be_served_again(self):
        kept = {c.manifest_digest for c in self.rollout.ledger.kept()}
        if self.rollout.view.active:
            assert self.rollout.view.active_digest in kept
        for going_on in (self.rollout.staging, self.rollout.judge.canary):
            assert going_on is None or going_on.digest in kept


AnyRollout.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_whatever_happens = AnyRollout.TestCase
