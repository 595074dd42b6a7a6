"""What each host's agent has done, from its newest reports."""

from collections.abc import Iterable

import msgspec

from headrace.contracts.events_pb2 import WeightsApplied


class AgentLine(msgspec.Struct, frozen=True):
    """An agent, for one model. Bytes are of the version that its workers serve, but those that it gave.

    `to_peers` are the model's bytes that it has given to other agents since it started. `address` is where it gives
    them, "" if it does not.
    """

    model: str
    agent: str
    host: str
    workers: int
    version: int
    from_store: int
    from_peers: int
    to_peers: int
    address: str
    heard_s: float


def agent_lines(reports: Iterable[WeightsApplied], now_us: int) -> list[AgentLine]:
    """One line for each agent of the newest reports, one a worker; by model and name. Workers that left are not counted."""
    by_agent: dict[tuple[str, str], list[WeightsApplied]] = {}
    for report in reports:
        if report.agent:
            by_agent.setdefault((report.model, report.agent), []).append(report)
    return [_line(sorted(by_agent[key], key=lambda report: report.at_us), now_us) for key in sorted(by_agent)]


def _line(reports: list[WeightsApplied], now_us: int) -> AgentLine:
    """Of one agent's reports, the newest last."""
    newest = reports[-1]
    served = max(reports, key=lambda report: (report.version, report.bytes_pulled))
    return AgentLine(
        model=newest.model,
        agent=newest.agent,
        host=newest.host,
        workers=sum(report.state != WeightsApplied.LEFT for report in reports),
        version=served.version,
        from_store=served.bytes_pulled - served.bytes_from_peers,
        from_peers=served.bytes_from_peers,
        to_peers=newest.bytes_to_peers,
        address=newest.peer_address,
        heard_s=max(0, now_us - newest.at_us) / 1e6,
    )
