"""Every section by its name."""

from collections.abc import Callable, Mapping

import httpx

from headrace.runtime.settings import ServiceSettings
from services.gateway.live.asked import AskedSection, RolesSection
from services.gateway.live.board import Section
from services.gateway.live.consumers import ConsumersSection
from services.gateway.live.flow import FlowSection
from services.gateway.live.rollouts import RolloutsSection
from services.gateway.live.tail import PREFIX, TailSection
from services.gateway.status import Status
from services.gateway.upstream import Resolve

FLOW = "flow"
ASKED = {
    "training": ("train", "/v1/training/jobs?limit=60"),
    "studies": ("train", "/v1/training/studies?limit=20"),
    "datasets": ("datasets", "/v1/datasets"),
    "imports": ("datasets", "/v1/imports"),
    "queues": ("labelling", "/v1/labelling/queues"),
    "drift": ("drift", "/v1/drift"),
    "alerts": ("drift", "/v1/alerts?state=all"),
    "silences": ("drift", "/v1/silences"),
    "rules": ("rules", "/v1/rules"),
    "runs": ("rules", "/v1/rules/runs?limit=50"),
}
"""Sections that are a role's answer: the role, and the path."""
_ASKED_S = 0.8


class Sections:
    """Makes sections.

    Args:
        settings: where Kafka is.
        pipeline: whose rollouts are followed.
        status: asks the roles whether they are ready.
        resolve: of a role, what gives its addresses.
        client: the HTTP client that all of the gateway shares.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        pipeline: str,
        status: Status,
        resolve: Callable[[str], Resolve],
        client: httpx.AsyncClient,
    ) -> None:
        self._settings = settings

        def asked(role: str, path: str) -> Callable[[], Section]:
            return lambda: AskedSection(role, path, resolve(role), client, period_s=_ASKED_S)

        self._make: Mapping[str, Callable[[], Section]] = {
            FLOW: lambda: FlowSection(resolve("monitor"), client),
            "roles": lambda: RolesSection(status),
            "kafka": lambda: ConsumersSection(settings),
            "rollouts": lambda: RolloutsSection(settings, pipeline),
            **{name: asked(role, path) for name, (role, path) in ASKED.items()},
        }

    @property
    def names(self) -> list[str]:
        """The sections, without those of single topics."""
        return sorted(self._make)

    def __call__(self, name: str) -> Section | None:
        """The section of that name; None where there is none."""
        if name.startswith(PREFIX) and len(name) > len(PREFIX):
            return TailSection(self._settings, name.removeprefix(PREFIX))
        make = self._make.get(name)
        return make() if make is not None else None
