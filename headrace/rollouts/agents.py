"""What each host's agent has done, from the newest reports of its workers."""

from collections.abc import Iterable

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.rollouts.reports import ReportedWorker
from headrace.rollouts.status import AgentStatus


def agent_statuses(workers: Iterable[ReportedWorker], now_us: int) -> list[AgentStatus]:
    """The agents of one model's workers, by name. Workers that left are not counted."""
    by_agent: dict[str, list[ReportedWorker]] = {}
    for worker in workers:
        if worker.newest.agent:
            by_agent.setdefault(worker.newest.agent, []).append(worker)
    return [_status(by_agent[agent], now_us) for agent in sorted(by_agent)]


def _status(workers: list[ReportedWorker], now_us: int) -> AgentStatus:
    newest = max((worker.newest for worker in workers), key=lambda report: report.at_us)
    moved = max((worker.newest for worker in workers), key=_served)
    return AgentStatus(
        model=newest.model,
        agent=newest.agent,
        host=newest.host,
        workers=sum(worker.present for worker in workers),
        version=moved.version,
        from_store=moved.bytes_pulled - moved.bytes_from_peers,
        from_peers=moved.bytes_from_peers,
        to_peers=newest.bytes_to_peers,
        address=newest.peer_address,
        heard_s=max(0, now_us - newest.at_us) / 1e6,
    )


def _served(report: WeightsApplied) -> tuple[int, int]:
    return report.version, report.bytes_pulled
