"""An operator's request as it is carried out: what the coordinator answers, and which workers follow."""

import time

from rich.console import Console
from rich.markup import escape

from headrace.contracts.events_pb2 import Operation, RolloutDirective
from headrace.rollouts.operations import OperatorSession
from headrace.rollouts.reports import ReportedWorker
from headrace.runtime.errors import DependencyError


def carry_out(session: OperatorSession, request: Operation, timeout_s: float) -> None:
    """Send a request and print what happens, until every worker serves what the coordinator answered.

    Raises:
        ConfigError: no version of the model is rolled out, or the coordinator refuses the request.
        DependencyError: no coordinator answered, or not every worker followed in time.
    """
    console = Console(highlight=False)
    active = session.catch_up()
    if request.kind == Operation.RESUME and not active.pinned:
        console.print(
            f"{escape(request.model)} is not pinned: it serves version {active.version}, and newer ones as they come"
        )
        return
    since = time.monotonic()
    answer = session.request(request, timeout_s)
    console.print(_told(answer))
    done = session.wait_served(answer.version, timeout_s)
    for worker in session.model.workers:
        console.print(_follows(worker, answer.version))
    if not done:
        raise DependencyError(
            f"not every worker serves version {answer.version} after {timeout_s:.0f} s", hint="headrace status"
        )
    console.print(f"done in {(time.monotonic() - since) * 1000:.0f} ms, {len(session.model.workers)} workers")


def _told(answer: RolloutDirective) -> str:
    was = f" (was {answer.previous_version})" if answer.previous_version != answer.version else ""
    pinned = ", pinned: newer checkpoints wait for `headrace resume`" if answer.pinned else ""
    return f"[bold]{escape(answer.model)}[/] is told to serve version [bold]{answer.version}[/]{was}{pinned}"


def _follows(worker: ReportedWorker, version: int) -> str:
    mark = "[green]✓[/]" if worker.version == version else "[red]✗[/]"
    return f"  {mark} {escape(worker.newest.worker)} serves version {worker.version} {escape(worker.error)}".rstrip()
