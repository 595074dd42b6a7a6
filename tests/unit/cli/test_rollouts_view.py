"""A rollout as `headrace ckpt` shows it."""

from rich.console import Console, RenderableType

from headrace.cli.views.rollouts import agent_table, rollout_line, version_table, worker_table
from tests.history_kit import SECOND, Told, at


def printed(*parts: RenderableType, width: int = 100) -> str:
    """The words, without the spaces between them."""
    console = Console(width=width)
    with console.capture() as shown:
        console.print(*parts)
    return " ".join(shown.get().split())


def test_the_tables_are_readable_on_a_narrow_terminal() -> None:
    told = Told()
    told.publish(1)
    told.direct("ACTIVATE", 1, at(1) + 7000)
    told.report("w", "HEARTBEAT", 1, at(1) + SECOND)
    words = printed(worker_table(told.workers(at(1) + 2 * SECOND)), width=80)
    assert "w stream h 1 serving 2.0 s 1.0 s ago" in words
    words = printed(version_table(told.versions(9)), width=80)
    assert "active" in words
    assert "7 ms" in words


def test_bytes_that_agents_gave_to_each_other_are_shown() -> None:
    told, million = Told(), 1_000_000
    told.publish(1)
    told.direct("ACTIVATE", 1)
    for agent, peers in (("a", million), ("b", 3 * million)):
        told.report(f"of-{agent}", "ACTIVE", 1, at(1), agent=agent, peer_address=f"{agent}:7000",
                    bytes_pulled=4 * million, bytes_from_peers=peers, bytes_to_peers=2 * million)  # fmt: skip
    assert "a h 1 1 3.0 MB 1.0 MB 2.0 MB a:7000" in printed(agent_table(told.agents(at(1))))
    assert "50 %" in printed(version_table(told.versions(9)))


def test_what_a_worker_is_to_serve_and_what_went_wrong_stands_beside_it() -> None:
    told = Told()
    told.publish(1, 2)
    told.direct("ACTIVATE", 1)
    told.direct("CANARY", 2, canaries=["d"], canary_until_us=at(9))
    told.report("c", "FAILED", 1, at(3) - 2, error="no room")
    told.report("c", "HEARTBEAT", 3, at(3), fenced=True)
    told.report("d", "HEARTBEAT", 1, at(3))
    words = printed(worker_table(told.workers(at(3))))
    assert "is to serve 1; not ready: no room" in words
    assert "is to serve 2, as a canary" in words


def test_one_line_says_what_the_fleet_is_to_serve() -> None:
    told = Told()
    assert printed(rollout_line(told.view("m"))) == "m: no version is rolled out"
    told.direct("ROLL_BACK", 1, pinned=True)
    assert printed(rollout_line(told.view("m"))) == "m: the fleet is to serve version 1, pinned"
    told.direct("CANARY", 2, canaries=["a", "b"], canary_until_us=at(2))
    assert "; 2 canaries serve 2 until " in printed(rollout_line(told.view("m")))
