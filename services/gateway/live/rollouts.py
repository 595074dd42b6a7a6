"""The section `rollouts`: every model's versions and workers, and each rollout worker by worker."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from headrace.rollouts.history import RolloutHistory
from headrace.rollouts.reading import APPLIED, CHECKPOINTS, REFUSALS, ROLLOUTS, TopicReader, take
from headrace.rollouts.view import RolloutView
from headrace.runtime.settings import ServiceSettings

_REPORTS_S = 3600.0
_SLICE_S = 0.3
"""The topics' past is read in parts of so many seconds, so that a page is told how far it is."""
VERSIONS = 40
TIMELINES = 12


class RolloutsSection:
    """`{"models": [...], "versions": [...], "workers": [...], "agents": [...], "timelines": [...]}`, in a thread."""

    period_s = 0.4

    def __init__(self, settings: ServiceSettings, pipeline: str) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._reader: TopicReader | None = None
        self._history = RolloutHistory(pipeline)

    async def look(self) -> bytes:
        """See `Section.look`."""
        return await asyncio.to_thread(self._look)

    def first(self) -> Mapping[str, bytes]:
        """See `Section.first`."""
        return {}

    async def close(self) -> None:
        """See `Section.close`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.to_thread(reader.close)

    def _look(self) -> bytes:
        if self._reader is None:
            since = {CHECKPOINTS: 0.0, REFUSALS: 0.0, ROLLOUTS: 0.0, APPLIED: time.time() - _REPORTS_S}
            self._history = RolloutHistory(self._pipeline)
            self._reader = TopicReader(self._settings, since)
        deadline = time.monotonic() + _SLICE_S
        while messages := self._reader.poll():
            for message in messages:
                try:
                    take(self._history, message)
                except DecodeError:  # skipped, here as in the services
                    continue
            if time.monotonic() > deadline:
                break
        return msgspec.json.encode(self._said(self._reader.caught_up))

    def _said(self, caught_up: bool) -> dict[str, Any]:  # noqa: FBT001 - a field of the answer
        history, now_us = self._history, int(time.time() * 1e6)
        return {
            "caught_up": caught_up,
            "models": [_model(history.view(name)) for name in history.models],
            "versions": history.versions(VERSIONS),
            "workers": history.workers(now_us),
            "agents": history.agents(now_us),
            "timelines": [one for name in history.models for one in history.timelines(name, TIMELINES)],
        }


def _model(view: RolloutView) -> dict[str, Any]:
    canary, staged = view.canary, view.staged
    return {
        "model": view.model,
        "active": view.active_version,
        "previous": view.previous_version,
        "pinned": view.pinned,
        "reason": view.active.reason if view.active is not None else "",
        "staged": staged.version if staged is not None else None,
        "canary": canary
        and {"version": canary.version, "workers": list(canary.canaries), "until_us": canary.canary_until_us},
        "refused": sorted(refusal.version for refusal in view.refused.values()),
    }
