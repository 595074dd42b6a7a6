"""The sections of the page, and the pages that follow them.

A section is looked at once every `period_s`, whatever the number of pages, and only while a page follows it. What it
says is encoded once, and every page is given the same bytes. A page that reads slowly skips what was replaced
meanwhile: at most one frame of each section waits for it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import msgspec

from headrace.runtime.errors import HeadraceError
from headrace.runtime.logging import get_logger
from services.gateway.errors import BadRequestError, BusyError

log = get_logger("headrace.gateway")

LINGER_S = 10.0
_GATHER_S = 0.02
_QUIET_S = 15.0
_PAUSE_S = 0.05


class Section(Protocol):
    """Something that pages follow. Its methods run in the event loop; one look ends before the next begins."""

    period_s: float
    """Seconds from the start of one look to the start of the next."""

    async def look(self) -> bytes:
        """What it says now, as JSON; b"" where nothing is new.

        Raises:
            HeadraceError: it cannot be said; pages are told why, as {"error": ...}, and the next look may succeed.
        """
        ...

    def first(self) -> Mapping[str, bytes]:
        """What a page that begins is told once, before: JSON by event name."""
        ...

    async def close(self) -> None:
        """Nobody follows any more. `look` may be called again later."""
        ...


def frame(event: str, data: bytes) -> bytes:
    """A server-sent event."""
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


class Page:
    """One page's place: the newest frame of each of its sections that it has not been sent."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self._frames: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._ended = False

    def put(self, name: str, one: bytes) -> None:
        """Replace what waits of a section."""
        self._frames[name] = one
        self._wake.set()

    def end(self) -> None:
        """No more frames follow."""
        self._ended = True
        self._wake.set()

    async def take(self) -> bytes:
        """Everything that waits, once there is something; a comment after a quiet time; b"" at the end."""
        if not self._frames and not self._ended:
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), _QUIET_S)
            except TimeoutError:
                return b": \n\n"
        taken = b"".join(self._frames.values())
        self._frames.clear()
        return taken


class _Followed:
    """A section that is looked at."""

    def __init__(self, section: Section, task: "asyncio.Task[None]") -> None:
        self.section, self.task = section, task
        self.newest = b""
        self.unfollowed_at: float | None = None


class Board:
    """Looks at sections for the pages.

    Args:
        find: makes the section of a name, or None where there is none. A name is asked for anew once nobody has
            followed it for some seconds.
        always: sections that are looked at even if no page follows them.
        max_pages: more are refused.
    """

    def __init__(self, find: Callable[[str], Section | None], *, always: Iterable[str] = (), max_pages: int) -> None:
        self._find, self._always, self._max = find, frozenset(always), max_pages
        self._followed: dict[str, _Followed] = {}
        self._pages: set[Page] = set()
        self._changed: set[str] = set()
        self._flushing: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._pages)

    def start(self) -> None:
        """Begin with the sections that are always looked at."""
        for name in self._always:
            self._follow(name)

    def open(self, names: Iterable[str]) -> Page:
        """A page that follows these sections; it must be closed.

        Raises:
            BadRequestError: there is no such section.
            BusyError: too many pages are open.
        """
        wanted = frozenset(names)
        if len(self._pages) >= self._max:
            raise BusyError(f"{self._max} pages are open already, which is the most")
        page = Page(wanted)
        self._pages.add(page)
        try:
            for name in sorted(wanted):
                followed = self._follow(name)
                for event, data in followed.section.first().items():
                    page.put(f"first {event}", frame(event, data))
                if followed.newest:
                    page.put(name, followed.newest)
        except BadRequestError:
            self.close(page)
            raise
        return page

    def close(self, page: Page) -> None:
        """The page is gone."""
        self._pages.discard(page)
        now = time.monotonic()
        still = {name for one in self._pages for name in one.names} | self._always
        for name in page.names - still:
            if (followed := self._followed.get(name)) is not None:
                followed.unfollowed_at = now

    async def stop(self) -> None:
        """End every page and every look."""
        for page in self._pages:
            page.end()
        tasks = [followed.task for followed in self._followed.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for followed in list(self._followed.values()):  # whose task was cancelled before it began
            await followed.section.close()

    def _follow(self, name: str) -> _Followed:
        if (known := self._followed.get(name)) is not None:
            known.unfollowed_at = None
            return known
        section = self._find(name)
        if section is None:
            raise BadRequestError(f"there is no section {name!r}")
        followed = _Followed(section, asyncio.create_task(self._look(name), name=f"section {name}"))
        self._followed[name] = followed
        return followed

    async def _look(self, name: str) -> None:
        followed = self._followed[name]
        section, failed = followed.section, ""
        try:
            while not self._over(followed):
                began = time.monotonic()
                try:
                    said, failed = await section.look(), ""
                except HeadraceError as error:
                    said = msgspec.json.encode({"error": str(error)})
                    if str(error) != failed:
                        failed = str(error)
                        log.warning("a section of the page cannot be read", section=name, error=failed)
                if said:
                    self._tell(name, frame(name, said))
                await asyncio.sleep(max(_PAUSE_S, _next(began, section.period_s) - time.monotonic()))
        finally:
            if self._followed.get(name) is followed:
                del self._followed[name]
            await asyncio.shield(section.close())

    @staticmethod
    def _over(followed: _Followed) -> bool:
        since = followed.unfollowed_at
        return since is not None and time.monotonic() > since + LINGER_S

    def _tell(self, name: str, one: bytes) -> None:
        followed = self._followed.get(name)
        if followed is None or followed.newest == one:
            return
        followed.newest = one
        self._changed.add(name)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(_GATHER_S, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        changed, self._changed = self._changed, set()
        frames = {name: self._followed[name].newest for name in changed if name in self._followed}
        for page in self._pages:
            for name in frames.keys() & page.names:
                page.put(name, frames[name])


def _next(began: float, period_s: float) -> float:
    """When to look again: sections of one period look at the same moments, so that a page is sent one frame for all."""
    return (began // period_s + 1) * period_s
