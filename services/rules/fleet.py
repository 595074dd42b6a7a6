"""What the coordinators have decided: see `headrace.rules.effects.port.Fleet`. A thread reads headrace.rollouts."""

import asyncio
import threading

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.rollouts.directives import CANARY, REFUSE, RETIRE, SERVES
from headrace.rollouts.feed import DirectiveFeed
from headrace.rollouts.view import RolloutView
from headrace.rules.effects.port import Answer
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings

ANSWERS = 2000
"""So many of the newest answers to requests are known."""
_START_S = 60.0


class KafkaFleet:
    """Follows every model of the fleet. Made and used in an event loop; another thread reads."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._feed = DirectiveFeed(settings)
        self._views: dict[str, RolloutView] = {}
        self._answers: dict[str, Answer] = {}
        self._stop, self._caught_up = threading.Event(), asyncio.Event()
        self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self._reading: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Return once everything was read that was decided before.

        Raises:
            HeadraceError: Kafka fails.
        """
        self._reading = asyncio.ensure_future(asyncio.to_thread(self._feed.run, self._stop, self._heard, self._at_end))
        caught_up = asyncio.ensure_future(self._caught_up.wait())
        await asyncio.wait([self._reading, caught_up], timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        caught_up.cancel()
        if self._reading.done():
            self._reading.result()
        if not self._caught_up.is_set():
            raise DependencyError("headrace.rollouts could not be read to its end", hint="is the broker up?")

    async def run(self) -> None:
        """Return or raise when the reading ends."""
        if self._reading is not None:
            await asyncio.shield(self._reading)

    async def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._reading is not None:
            await asyncio.wait([self._reading])

    def active(self, model: str) -> int:
        """See `Fleet`."""
        return self._views[model].active_version if model in self._views else 0

    def refused(self, model: str, version: int) -> bool:
        """See `Fleet`."""
        view = self._views.get(model)
        return view is not None and any(refusal.version == version for refusal in view.refused.values())

    def answer(self, operation: str) -> Answer | None:
        """See `Fleet`."""
        return self._answers.get(operation)

    async def changed(self) -> None:
        """See `Fleet`."""
        try:
            async with asyncio.timeout(1.0):
                await self._event.wait()
        except TimeoutError:
            return

    # From the thread that reads.

    def _heard(self, directive: RolloutDirective) -> None:
        self._loop.call_soon_threadsafe(self._take, directive)

    def _at_end(self) -> None:
        self._loop.call_soon_threadsafe(self._caught_up.set)

    def _take(self, directive: RolloutDirective) -> None:
        view = self._views.setdefault(directive.model, RolloutView(directive.model))
        if not view.apply(directive):
            return
        if directive.operation_id:
            self._answers.pop(directive.operation_id, None)
            said = Answer(_said(directive), directive.version, directive.reason, directive.issued_at_us)
            self._answers[directive.operation_id] = said
            if len(self._answers) > ANSWERS:
                del self._answers[next(iter(self._answers))]
        event, self._event = self._event, asyncio.Event()
        event.set()


def _said(directive: RolloutDirective) -> str:
    if directive.action in SERVES:
        return "active"
    return {CANARY: "canary", RETIRE: "given up", REFUSE: "refused"}.get(directive.action, "staged")
