"""What became of versions, told by records in memory."""

from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused, RolloutDirective, WeightsApplied
from tests.history_kit import SECOND, Told, at, checkpoint


def test_a_versions_life_is_told_with_its_times() -> None:
    """From publication until every worker that had staged it serves it; a late joiner does not count."""
    told = Told()
    told.publish(1)
    told.direct("STAGE", 1, at(1) + 1000)
    for worker, staged, active in (("a", 5_000, 12_000), ("b", 9_000, 20_500)):
        told.report(worker, "STAGED", 1, at(1) + staged)
        told.report(worker, "ACTIVE", 1, at(1) + active)
    told.report("late", "STAGED", 1, at(3))
    told.report("late", "ACTIVE", 1, at(3) + 1)
    told.direct("ACTIVATE", 1, at(1) + 10_000)
    (line,) = told.versions(5)
    assert (line.state, line.published_us, line.activated_us) == ("active", at(1), at(1) + 10_000)
    assert (line.activate_ms, line.workers, line.step, line.metrics) == (20.5, 3, 10, {"error": 1.0})
    assert line.size > 8


def test_the_bytes_of_a_version_that_a_host_took_are_those_of_the_host_that_took_most() -> None:
    """One had the version before, the other nothing; of a version that nobody staged, nothing is known."""
    told = Told()
    told.publish(1, 2)
    for worker, pulled in (("follows", 10), ("late", 400)):
        state = WeightsApplied.State.Value("STAGED")
        told.on_report(
            WeightsApplied(model="m", worker=worker, state=state, version=1, at_us=at(1), bytes_pulled=pulled)
        )
    assert {line.version: line.pulled for line in told.versions(5)} == {1: 400, 2: None}


def test_a_version_that_its_trainer_did_not_publish_is_listed_with_the_gates_reason() -> None:
    told = Told()
    told.publish(1)
    told.direct("ACTIVATE", 1)
    told.on_refusal(
        CheckpointRefused(model="m", version=2, gate="worse", reason="12 and 4", step=20, values={"error": 12.0})
    )
    told.publish(3)
    newest, refused, active = told.versions(5)
    assert (refused.version, refused.state, refused.reason) == (2, "refused", "worse: 12 and 4")
    assert (refused.step, refused.metrics, refused.published_us) == (20, {"error": 12.0}, 0)
    assert (newest.state, active.state) == ("waiting", "active")


def test_what_becomes_of_versions() -> None:
    """Served, skipped, retired, rolled back, pinned, and waiting for the pin."""
    told = Told()
    told.publish(1, 2, 3, 4, 5)
    told.direct("ACTIVATE", 1)
    told.direct("STAGE", 3)
    assert told.states() == {1: "active", 2: "waiting", 3: "staging", 4: "waiting", 5: "waiting"}
    told.direct("RETIRE", 3, reason="refused by a")
    told.direct("ACTIVATE", 4)
    told.direct("REFUSE", 77, reason="never was")
    assert told.states() == {1: "served", 2: "skipped", 3: "retired", 4: "active", 5: "waiting"}
    told.direct("ROLL_BACK", 1, pinned=True, reason="4 is off")
    lines = {line.version: (line.state, line.reason) for line in told.versions(5)}
    assert lines[4] == ("rolled back", "4 is off")
    assert lines[1] == ("pinned", "4 is off")
    assert lines[3] == ("retired", "refused by a")
    assert lines[5] == ("waiting", "the model is pinned")


def test_what_compaction_forgot_is_concluded_from_what_is_left() -> None:
    """A staging whose activation is gone was served; so was what workers reported."""
    told = Told()
    told.publish(1, 2, 3)
    told.report("a", "ACTIVE", 1, at(1) + 5000)
    told.direct("STAGE", 2)
    told.direct("ACTIVATE", 3)
    assert told.states() == {1: "served", 2: "served", 3: "active"}
    assert {line.version: line.activate_ms for line in told.versions(3)}[1] == 5.0


def test_only_the_newest_are_listed_and_a_checkpoint_published_again_keeps_its_time() -> None:
    told = Told()
    told.publish(1, 2, 3)
    told.on_checkpoint(checkpoint(3), at(9))
    assert [(line.version, line.published_us) for line in told.versions(2)] == [(3, at(3)), (2, at(2))]


def test_a_checkpoint_whose_manifest_is_none_is_listed_without_a_size() -> None:
    told = Told()
    told.on_checkpoint(CheckpointPublished(model="m", version=7, manifest=b"junk"), at(7))
    (line,) = told.versions(1)
    assert (line.version, line.size) == (7, 0)


def test_every_worker_has_a_state_and_its_version_an_age() -> None:
    """As of now: two minutes after version 2 was published."""
    told, now = Told(), at(2) + 120 * SECOND
    told.publish(1, 2)
    told.direct("ACTIVATE", 2)
    told.direct("STAGE", 3)
    heard = now - SECOND
    told.report("serves", "HEARTBEAT", 2, heard)
    told.report("old", "HEARTBEAT", 1, heard)
    told.report("ready", "HEARTBEAT", 2, heard - 1)
    told.report("ready", "STAGED", 3, heard)
    told.report("refuses", "HEARTBEAT", 2, heard - 1)
    told.report("refuses", "FAILED", 3, heard, error="NaN in w")
    told.report("gone", "LEFT", 2, heard)
    told.report("dead", "HEARTBEAT", 2, now - 11 * SECOND)
    told.report("new", "JOINED", 0, heard)
    told.report("other", "HEARTBEAT", 2, heard, model="another")
    lines = {line.worker: line for line in told.workers(now)}
    assert {name: line.state for name, line in lines.items()} == {
        "serves": "serving",
        "old": "behind",
        "ready": "staged 3",
        "refuses": "refused 3",
        "gone": "left",
        "dead": "silent",
        "new": "starting",
    }
    assert (lines["serves"].version, lines["serves"].age_s, lines["serves"].heard_s) == (2, 120.0, 1.0)
    assert (lines["ready"].version, lines["refuses"].error, lines["new"].age_s) == (2, "NaN in w", None)


def test_what_agents_did_is_shown_beside_what_their_workers_serve() -> None:
    """Bytes of the version served, of which a heartbeat tells too; to others, since the agent's start."""
    told = Told()
    told.publish(1)
    told.direct("ACTIVATE", 1)

    def hear(worker: str, agent: str, state: int, us: int, **moved: int) -> None:
        said = {"worker": worker, "agent": agent, "state": state, "at_us": us, "host": f"host-{agent}", **moved}
        told.on_report(WeightsApplied(model="m", version=1, peer_address=f"{agent}:7000", **said))

    million = 1_000_000
    taken = {"bytes_pulled": 4 * million, "bytes_from_peers": million}
    hear("w1", "a", WeightsApplied.ACTIVE, at(1), **taken)
    hear("w2", "a", WeightsApplied.HEARTBEAT, at(1) + SECOND, **taken, bytes_to_peers=3 * million)
    hear("w3", "a", WeightsApplied.LEFT, at(1))
    hear(
        "w4",
        "b",
        WeightsApplied.ACTIVE,
        at(1),
        bytes_pulled=4 * million,
        bytes_from_peers=3 * million,
        bytes_to_peers=million,
    )
    one, other = told.agents(at(1) + 2 * SECOND)
    assert (one.agent, one.host, one.workers, one.version, one.heard_s) == ("a", "host-a", 2, 1, 1.0)
    assert (one.from_store, one.from_peers, one.to_peers) == (3_000_000, 1_000_000, 3_000_000)
    assert (other.from_store, other.from_peers, other.to_peers, other.address) == (
        1_000_000,
        3_000_000,
        1_000_000,
        "b:7000",
    )
    (line,) = told.versions(1)
    assert (line.pulled, line.from_stores, line.from_peers) == (4_000_000, 4_000_000, 4_000_000)


def test_a_pipeline_stands_for_all_its_models_each_with_its_own_versions_and_workers() -> None:
    told = Told()
    for version, model in ((1, "m"), (1, "m.wide"), (2, "m.wide"), (5, "mine")):
        told.on_directive(
            RolloutDirective(model=model, action=RolloutDirective.ACTIVATE, version=version, sequence=version)
        )
        told.report("stream-1", "ACTIVE", version, at(2), model=model)
    assert told.models == ["m", "m.wide"]
    assert [(w.model, w.worker, w.version, w.state) for w in told.workers(at(2))] == [
        ("m", "stream-1", 1, "serving"),
        ("m.wide", "stream-1", 2, "serving"),
    ]
    assert [(line.model, line.version) for line in told.versions(1)] == [("m", 1), ("m.wide", 2)]


def test_canaries_are_shown_while_they_are_the_only_ones_and_fenced_workers_with_what_went_wrong() -> None:
    told = Told()
    told.publish(1, 2)
    told.direct("ACTIVATE", 1)
    told.direct("CANARY", 2, canaries=["a", "d"], canary_until_us=at(9))
    told.report("a", "ACTIVE", 2, at(3))
    told.report("b", "HEARTBEAT", 1, at(3))
    told.report("c", "FAILED", 1, at(3) - 2, error="no room")
    told.report("c", "HEARTBEAT", 3, at(3), fenced=True)
    told.report("d", "HEARTBEAT", 1, at(3))
    assert told.view("m").canary.canaries == ["a", "d"]
    assert told.states() == {1: "active", 2: "canary"}
    workers = {w.worker: (w.state, w.fenced, w.error) for w in told.workers(at(3))}
    expected = {"a": ("canary", False, ""), "b": ("serving", False, ""), "c": ("fenced", True, "no room")}
    assert workers == {**expected, "d": ("behind", False, "")}
    told.direct("ACTIVATE", 2)
    assert told.view("m").canary is None
    assert told.states() == {1: "served", 2: "active"}


def test_versions_taken_back_are_told_apart_from_those_that_an_operator_rolled_back() -> None:
    told = Told()
    told.publish(1, 2, 3)
    told.direct("ACTIVATE", 1)
    told.direct("ACTIVATE", 2)
    told.direct("ROLL_BACK", 1, cause="alert", reason="version 2 was taken back: far off")
    told.direct("CANARY", 3, canaries=["a"])
    told.direct("RETIRE", 3, canaries=["a"], cause="failures", reason="failed on canary a")
    assert told.view("m").canary is None
    found = {line.version: (line.state, line.cause, line.reason) for line in told.versions(9)}
    assert found[2] == ("taken back", "alert", "version 2 was taken back: far off")
    assert found[3] == ("taken back", "failures", "failed on canary a")
    told.direct("ROLL_BACK", 1, cause="operator", pinned=True)
    assert told.states()[1] == "pinned"


def test_what_compaction_took_is_known_from_the_refusals_that_the_newest_directive_lists() -> None:
    told = Told()
    told.publish(1, 2, 3)
    refused = [{"version": 2, "served": True}, {"version": 3}]
    told.direct("ACTIVATE", 1, refusals={"refused": refused})
    assert told.states() == {1: "active", 2: "taken back", 3: "retired"}


RECORDS = (
    [lambda told, v=v: told.publish(v) for v in (1, 2, 3)],
    [
        lambda told: told.direct("ACTIVATE", 1),
        lambda told: told.direct("CANARY", 2, canaries=["a"]),
        lambda told: told.direct("RETIRE", 2, canaries=["a"], cause="alert"),
        lambda told: told.direct("STAGE", 3),
        lambda told: told.direct("ACTIVATE", 3),
    ],
    [
        lambda told: told.report("a", "ACTIVE", 1, at(1) + 5),
        lambda told: told.report("b", "FAILED", 1, at(1) + 6, error="no room"),
        lambda told: told.report("a", "STAGED", 3, at(3) + 1, bytes_pulled=7),
        lambda told: told.report("a", "ACTIVE", 3, at(3) + 9),
        lambda told: told.report("b", "HEARTBEAT", 0, at(3) + 10),
    ],
)
"""By topic: checkpoints, directives and reports, each in its own order."""


@given(st.permutations([topic for topic, records in enumerate(RECORDS) for _ in records]))
def test_in_whatever_order_of_topics_records_are_read_the_history_is_the_same(order: list[int]) -> None:
    told, plain, left = Told(), Told(), [list(records) for records in RECORDS]
    for topic in order:
        left[topic].pop(0)(told)
    for record in (record for records in RECORDS for record in records):
        record(plain)
    assert told.versions(9) == plain.versions(9)
    assert told.workers(at(4)) == plain.workers(at(4))
    assert [(line.version, line.state) for line in told.versions(9)] == [
        (3, "active"),
        (2, "taken back"),
        (1, "served"),
    ]
