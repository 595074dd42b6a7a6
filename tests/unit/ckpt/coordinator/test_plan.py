"""Who takes which chunk from whom: planned by the coordinator, followed by every agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.events_pb2 import RolloutDirective, WeightsApplied
from headrace.weights import Manifest
from headrace.weights.format.manifest import schema_hash
from headrace.weights.host.peers.routes import Member, Plan, Routes, Shunned, above, root
from services.ckpt.coordinator.plan import ROWS, PeerPlanner, PeerPolicy

MIB = 1 << 20


def manifest(chunks: int, version: int = 1) -> Manifest:
    return Manifest(
        model="m",
        version=version,
        base_version=0,
        epoch=1,
        step=1,
        offsets={},
        schema_hash=schema_hash([]),
        tensors=[],
        size=chunks * MIB,
        chunk_size=MIB,
        chunks=[f"{n:032x}" for n in range(chunks)],
        metrics={},
        created_at=0,
    )


def stage(chunks: int = 64, version: int = 1) -> RolloutDirective:
    encoded = manifest(chunks, version).encode()
    return RolloutDirective(model="m", action=RolloutDirective.STAGE, version=version, manifest=encoded)


def report(
    agent: str, *, worker: str = "", state: str = "HEARTBEAT", address: str = "", host: str = ""
) -> WeightsApplied:
    return WeightsApplied(
        model="m",
        worker=worker or f"worker of {agent}",
        state=WeightsApplied.State.Value(state),
        agent=agent,
        host=host or f"host of {agent}",
        peer_address=address or f"{agent}.example:7000",
    )


def planned(planner: PeerPlanner, directive: RolloutDirective, now: float = 0.0) -> RolloutDirective.Peers | None:
    planner.complete([directive], now)
    return directive.peers if directive.HasField("peers") else None


def planner(*agents: str, **policy: int) -> PeerPlanner:
    made = PeerPlanner(PeerPolicy(min_bytes=0, **policy))
    for agent in agents:
        made.on_applied(report(agent), 0.0)
    return made


def names(plan: RolloutDirective.Peers) -> list[str]:
    return [member.agent for member in plan.members]


@given(members=st.integers(1, 200), stripes=st.integers(1, 16), fan_out=st.integers(1, 8))
def test_every_stripe_reaches_everybody_from_one_root_within_the_fan_out(members, stripes, fan_out):
    """No cycle, nobody left out, nobody above more than he may be; and the roots are different members."""
    stripes = min(stripes, members)
    for stripe in range(stripes):
        parents = {m: above(m, stripe, stripes, members, fan_out) for m in range(members)}
        assert [m for m, parent in parents.items() if parent is None] == [root(stripe, stripes, members)]
        below = list(parents.values())
        assert all(below.count(member) <= fan_out for member in parents)
        for member in parents:
            seen, at = set(), member
            while at is not None:
                assert at not in seen
                seen.add(at)
                at = parents[at]
    assert len({root(stripe, stripes, members) for stripe in range(stripes)}) == stripes


@given(members=st.integers(2, 40), fan_out=st.integers(1, 8))
def test_with_a_stripe_for_every_member_all_send_the_same(members, fan_out):
    """The trees are rotations: over all of them, everybody is above as many as the others are."""
    below = [0] * members
    for stripe in range(members):
        for member in range(members):
            parent = above(member, stripe, members, members, fan_out)
            if parent is not None:
                below[parent] += 1
    assert set(below) == {members - 1}


def test_the_plan_follows_from_the_reports_alone():
    """Whoever reads the same reports, in whatever order, plans the same; another version has other roots."""
    one, two = planner("a", "b", "c"), planner("c", "a", "b")
    plan = planned(one, stage())
    assert plan == planned(two, stage())
    assert sorted(names(plan)) == ["a", "b", "c"]
    assert (plan.fan_out, plan.stripes) == (4, 3)
    assert plan.members[0].address == f"{names(plan)[0]}.example:7000"
    assert names(planned(one, stage(version=2))) != names(plan)


@pytest.mark.parametrize(
    ("made", "directive"),
    [
        (planner("a"), stage()),
        (planner(), stage()),
        (planner("a", "b", fan_out=0), stage()),
        (PeerPlanner(PeerPolicy(min_bytes=65 * MIB)), stage()),
        (planner("a", "b"), RolloutDirective(model="m", action=RolloutDirective.STAGE, manifest=b"junk")),
        (
            planner("a", "b"),
            RolloutDirective(model="m", action=RolloutDirective.ACTIVATE, manifest=manifest(64).encode()),
        ),
        (
            planner("a", "b"),
            RolloutDirective(model="other", action=RolloutDirective.STAGE, manifest=manifest(64).encode()),
        ),
    ],
    ids=["one agent", "none", "switched off", "small payload", "no manifest", "not a STAGE", "another model"],
)
def test_without_need_there_is_no_plan(made, directive):
    """Each agent then takes everything from the store."""
    if made._policy.min_bytes:
        for agent in "ab":
            made.on_applied(report(agent), 0.0)
    assert planned(made, directive) is None


def test_agents_that_left_or_fell_silent_are_not_planned_with():
    """An agent is there as long as one of its workers is."""
    made = planner("a", "b", "c", "d")
    made.on_applied(report("a", worker="second"), 0.0)
    made.on_applied(report("a", state="LEFT"), 1.0)
    made.on_applied(report("b", state="LEFT"), 1.0)
    made.on_applied(report("c"), 4.0)
    made.on_applied(report("a", worker="second"), 4.0)
    assert sorted(names(planned(made, stage(), now=5.0))) == ["a", "c", "d"]
    assert sorted(names(planned(made, stage(), now=8.0))) == ["a", "c"]


def test_an_agent_that_serves_nobody_is_not_planned_with():
    """It says no address."""
    made = planner("a", "b", "c")
    silent = report("c")
    silent.peer_address = ""
    made.on_applied(silent, 0.0)
    assert sorted(names(planned(made, stage()))) == ["a", "b"]


def test_loopback_addresses_are_planned_for_one_host_only():
    """They mean something else everywhere else: the largest group of agents that can reach each other is planned."""
    made = planner()
    for agent, host in (("a", "one"), ("b", "one"), ("c", "one"), ("d", "two"), ("e", "two")):
        made.on_applied(report(agent, address=f"127.0.0.1:{ord(agent)}", host=host), 0.0)
    assert sorted(names(planned(made, stage()))) == ["a", "b", "c"]


def test_few_chunks_make_few_stripes():
    """What flows down a tree chunk by chunk must be more than one chunk."""
    made = planner(*"abcdefgh")
    assert planned(made, stage(2 * ROWS)).stripes == 2
    assert planned(made, stage(1)).stripes == 1
    assert planned(made, stage(64)).stripes == 8


def plan_of(*agents: str, fan_out: int = 2, stripes: int = 1) -> Plan:
    members = [Member(agent=agent, address=f"{agent}:1", host=f"host of {agent}") for agent in agents]
    return Plan(members=members, fan_out=fan_out, stripes=stripes)


def test_a_route_leads_up_the_tree():
    """The root has none: it asks the store."""
    plan = plan_of(*"abcdefgh")
    at = {agent: Routes(plan, agent=agent, host="h").peers(0) for agent in "abcdefgh"}
    assert at["a"] == []
    assert at["b"] == at["c"] == ["a:1"]
    assert at["h"] == ["d:1", "b:1", "a:1"]


def test_stripes_have_different_roots():
    """Chunk i is of stripe i mod S."""
    routes = Routes(plan_of(*"abcd", stripes=2), agent="c", host="h")
    assert routes.peers(0) == ["a:1"]
    assert routes.peers(1) == []
    assert routes.peers(2) == ["a:1"]


def test_a_late_joiner_asks_members_each_for_another_stripe():
    """Nobody knows of it; it knows of them."""
    routes = Routes(plan_of(*"abcd", stripes=4), agent="late", host="h")
    assert {routes.peers(chunk)[0] for chunk in range(4)} == {"a:1", "b:1", "c:1", "d:1"}


def test_the_shunned_and_the_unreachable_are_left_out():
    """For a while; and loopback addresses of other hosts for ever."""
    now = [0.0]
    shunned = Shunned(lambda: now[0])
    shunned.add("d:1", 10.0)
    assert Routes(plan_of(*"abcdefgh"), agent="h", host="x", shunned=shunned).peers(0) == ["b:1", "a:1"]
    now[0] = 10.0
    assert Routes(plan_of(*"abcdefgh"), agent="h", host="x", shunned=shunned).peers(0) == ["d:1", "b:1", "a:1"]
    local = Plan(
        members=[Member(agent="a", address="127.0.0.1:1", host="one"), Member(agent="b", host="two")], fan_out=1
    )
    assert Routes(local, agent="b", host="two").peers(0) == []
    assert Routes(local, agent="b", host="one").peers(0) == ["127.0.0.1:1"]


def test_an_empty_plan_leads_to_the_store():
    """As a plan of an odd coordinator might be."""
    assert Routes(Plan(), agent="a", host="h").peers(3) == []
    assert Routes(plan_of("a", "b", fan_out=0, stripes=0), agent="b", host="h").peers(3) == ["a:1"]
