"""What the REST edge asks for: each a step of the loop's thread, answered with plain values once it is durable."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from services.labelling import metrics
from services.labelling.errors import BadRequestError, LabellingError, UnavailableError, UnknownError
from services.labelling.forms.labels import LabelForm
from services.labelling.loop import Loop
from services.labelling.studio.importing import Importer
from services.labelling.studio.reading import Reader, parse_tasks
from services.labelling.studio.results import StudioError, configuration
from services.labelling.studio.writing import Writer
from services.labelling.work.desk import Desk, Reviews, Undone
from services.labelling.work.entry import Entry

T = TypeVar("T")

_AT_ONCE = 200
_MOST_REFUSED = 100


class Labelling:
    """The role's answers. Every method may raise a LabellingError."""

    def __init__(self, form: LabelForm, reader: Reader, writer: Writer, sizes: dict[str, int]) -> None:
        self.form, self._reader, self._writer, self._sizes = form, reader, writer, sizes
        self._loop: Loop | None = None

    def start(self, loop: Loop) -> None:
        """Answer from now on: the state has been read."""
        self._loop = loop

    async def queues(self) -> dict[str, Any]:
        """All queues with their counts, and what holds for all."""
        return await self._ask(lambda loop, now: loop.queues(now))

    async def queue(self, name: str) -> dict[str, Any]:
        """One queue, with the agreement and what each person did."""

        def do(loop: Loop, now: int) -> dict[str, Any]:
            self._check_queue(name)
            shown = loop.parts.shown
            return {**shown.queue(name, now), "agreement": shown.agreement(name), "labellers": shown.labellers(name)}

        return await self._ask(do)

    async def items(self, queue: str, state: str | None, limit: int) -> list[dict[str, Any]]:
        """Items of a queue, those that wait first, in the order in which they are offered."""

        def do(loop: Loop, now: int) -> list[dict[str, Any]]:
            self._check_queue(queue)
            found = [entry for entry in _of_queue(loop, queue) if state is None or entry.work.state == state]
            return [loop.parts.shown.item(entry, now) for entry in found[:limit]]

        return await self._ask(do)

    async def item(self, item: str) -> dict[str, Any]:
        """One item."""
        return await self._ask(lambda loop, now: loop.parts.shown.item(loop.parts.desk.entry(item), now))

    async def agreement(self) -> dict[str, Any]:
        """How far people agree, over all queues."""
        return await self._ask(lambda loop, _: loop.parts.shown.agreement())

    # What people do.

    async def lease(self, queue: str, labeller: str, reviews: Reviews, *, fresh: bool) -> dict[str, Any] | None:
        """See `Desk.lease`."""

        def do(loop: Loop, now: int) -> dict[str, Any] | None:
            self._check_queue(queue)
            entry = loop.parts.desk.lease(queue, labeller, now, reviews=reviews, fresh=fresh)
            return None if entry is None else loop.parts.shown.item(entry, now, labeller)

        return await self._ask(do)

    async def renew(self, item: str, labeller: str) -> dict[str, Any]:
        """See `Desk.renew`."""
        return await self._on_item(labeller, lambda desk, now: desk.renew(item, labeller, now))

    async def release(self, item: str, labeller: str) -> dict[str, Any]:
        """See `Desk.release`."""
        return await self._on_item(labeller, lambda desk, _: desk.release(item, labeller))

    async def label(self, item: str, labeller: str, given: dict[str, Any]) -> dict[str, Any]:
        """See `Desk.label`."""
        return await self._on_item(labeller, lambda desk, now: desk.label(item, labeller, given, now), "label")

    async def review(self, item: str, labeller: str, given: dict[str, Any] | None) -> dict[str, Any]:
        """See `Desk.review`."""
        return await self._on_item(labeller, lambda desk, now: desk.review(item, labeller, given, now), "review")

    async def skip(self, item: str, labeller: str, reason: str) -> dict[str, Any]:
        """See `Desk.skip`."""
        return await self._on_item(labeller, lambda desk, now: desk.skip(item, labeller, reason, now), "skip")

    async def undo(self, item: str, labeller: str) -> dict[str, Any]:
        """See `Desk.undo`."""
        return await self._undo(labeller, lambda desk, now: desk.undo(item, labeller, now))

    async def undo_last(self, queue: str, labeller: str) -> dict[str, Any]:
        """See `Desk.undo_last`."""
        self._check_queue(queue)
        return await self._undo(labeller, lambda desk, now: desk.undo_last(queue, labeller, now))

    # Files.

    async def export(self, queue: str | None, state: str | None) -> AsyncIterator[bytes]:
        """The tasks of all items, or of a queue's, as Label Studio's JSON, part by part."""
        if queue is not None:
            self._check_queue(queue)
        names = await self._ask(lambda loop, _: [entry.id for entry in _of_queue(loop, queue)])
        return self._tasks(names, state)

    async def _tasks(self, names: Sequence[str], state: str | None) -> AsyncIterator[bytes]:
        mark = b"["
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]

            def write(loop: Loop, _: int, some: Sequence[str] = some) -> list[bytes]:
                entries = [loop.parts.desk.store.entries.get(name) for name in some]
                return [
                    msgspec.json.encode(self._writer.task(entry))
                    for entry in entries
                    if entry is not None and (state is None or entry.work.state == state)
                ]

            for task in await self._ask(write):
                yield mark + task
                mark = b",\n"
        yield b"[]" if mark == b"[" else b"]\n"

    def configuration(self) -> str:
        """Label Studio's labelling configuration for the tasks."""
        return configuration(self.form.fields, self.form.event_fields)

    async def import_(self, body: bytes, queue: str) -> dict[str, Any]:
        """Take the tasks of a file; each one that cannot be taken is named, and holds up none of the others."""
        self._check_queue(queue)
        tasks = await asyncio.to_thread(parse_tasks, body)
        total = {"tasks": len(tasks), "items": 0, "labels": 0, "repeated": 0}
        refused: list[dict[str, Any]] = []
        for start in range(0, len(tasks), _AT_ONCE):
            some = tasks[start : start + _AT_ONCE]

            def bring(loop: Loop, now: int, some: Sequence[Any] = some, start: int = start) -> None:
                importer = Importer(loop.parts.desk, self.form, self._sizes)
                for number, given in enumerate(some, start):
                    try:
                        brought = importer.bring(self._reader.task(given, number), queue, number, now)
                    except (StudioError, LabellingError) as error:
                        refused.append({"task": number, "reason": str(error)})
                        continue
                    total["items"] += brought.is_new
                    total["labels"] += brought.decisions
                    total["repeated"] += brought.repeated

            await self._ask(bring)
        return {**total, "refused": refused[:_MOST_REFUSED], "refused_count": len(refused)}

    # The parts of these.

    def _check_queue(self, name: str) -> None:
        if name not in self._sizes:
            raise UnknownError(f"no queue {name!r}: there are {', '.join(self._sizes)}")

    async def _on_item(
        self, labeller: str, do: Callable[[Desk, int], Entry], kind: str | None = None
    ) -> dict[str, Any]:
        shown = await self._ask(lambda loop, now: loop.parts.shown.item(do(loop.parts.desk, now), now, labeller))
        if kind is not None:
            metrics.DECISIONS.labels(kind).inc()
        return shown

    async def _undo(self, labeller: str, do: Callable[[Desk, int], Undone]) -> dict[str, Any]:
        def undo(loop: Loop, now: int) -> dict[str, Any]:
            undone = do(loop.parts.desk, now)
            item = loop.parts.shown.item(undone.entry, now, labeller)
            return {"item": item, "was_published": undone.was_published, "effect": undone.effect}

        answer = await self._ask(undo)
        metrics.DECISIONS.labels("undo").inc()
        return answer

    async def _ask(self, do: Callable[[Loop, int], T]) -> T:
        loop = self._loop
        if loop is None:
            raise UnavailableError("the state is still being read: ask again in a moment")
        return await asyncio.wrap_future(loop.ask(lambda now: do(loop, now)))


def _of_queue(loop: Loop, queue: str | None) -> list[Entry]:
    """The items of a queue: those that wait first, in their order. None: of all."""
    entries = loop.parts.desk.store.entries
    if queue is None:
        return list(entries.values())
    waiting = [entries[name] for name in loop.parts.desk.store.waiting[queue]]
    shown = {entry.id for entry in waiting}
    others = [e for e in entries.values() if queue in e.work.queues and e.id not in shown]
    return [*waiting, *others]


def review_of(label: dict[str, Any] | None, *, accept: bool) -> dict[str, Any] | None:
    """What a reviewer says: a label, or None where they accept.

    Raises:
        BadRequestError: neither, or both.
    """
    if accept == (label is not None):
        raise BadRequestError('a review has either a "label" or "accept": true')
    return label
