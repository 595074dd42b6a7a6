"""Requests that wait to be executed: by priority, and within a priority one caller after the other."""

from collections import OrderedDict, deque

from services.inference.rpc.batching.jobs import Job


class Waiting:
    """The queue. `events` is how many events wait in it; cancelled requests count no more and are dropped when met."""

    def __init__(self) -> None:
        self.events = 0
        self._levels: dict[int, OrderedDict[str, deque[Job]]] = {}

    def put(self, job: Job) -> None:
        """Add a request behind those of the same caller and priority."""
        job.waiting = True
        self.events += job.table.rows
        level = self._levels.get(job.priority)
        if level is None:
            level = self._levels[job.priority] = OrderedDict()
        callers = level.get(job.peer)
        if callers is None:
            level[job.peer] = deque((job,))
        else:
            callers.append(job)

    def withdraw(self, job: Job) -> bool:
        """Let a request wait no longer; False where it does not wait."""
        if not job.waiting:
            return False
        job.waiting = False
        self.events -= job.table.rows
        return True

    def take(self, most: int) -> list[Job]:
        """The next requests to execute together: at most so many events, or one request that has more by itself."""
        taken: list[Job] = []
        room = most
        for priority in sorted(self._levels):
            level = self._levels[priority]
            room = self._take(level, taken, room, most)
            if level:
                break
            del self._levels[priority]
        return taken

    def _take(self, level: "OrderedDict[str, deque[Job]]", taken: list[Job], room: int, most: int) -> int:
        while level:
            peer, jobs = next(iter(level.items()))
            while jobs and not jobs[0].waiting:
                jobs.popleft()
            if jobs:
                rows = jobs[0].table.rows
                if rows > room and (taken or rows <= most):
                    break
                job = jobs.popleft()
                self.withdraw(job)
                taken.append(job)
                room -= rows
            if jobs:
                level.move_to_end(peer)
            else:
                del level[peer]
            if room <= 0:
                break
        return room

    @property
    def oldest(self) -> int:
        """When the first of the waiting requests arrived, 0 if none waits."""
        firsts = (
            next((job.arrived for job in jobs if job.waiting), 0)
            for level in self._levels.values()
            for jobs in level.values()
        )
        return min((first for first in firsts if first), default=0)
