"""The list of the pipeline's models: what pipeline.yaml says about each, and what the monitor knows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from headrace.model.spec import CHAMPION, SHADOW, PipelineSpec, name_in_fleet
from services.gateway.errors import UnknownError


@dataclass(frozen=True, slots=True)
class Listed:
    """A model: its name in the fleet, its role on the stream, and the share of the keys that it answers."""

    model: str
    role: str
    share: float


class Models:
    """The models of one pipeline, the champion first."""

    def __init__(self, spec: PipelineSpec) -> None:
        self.pipeline, self._spec = spec.name, spec
        given = sum(variant.share or 0.0 for variant in spec.models)
        others = [Listed(name_in_fleet(spec.name, v.name), v.role, v.share or 0.0) for v in spec.models]
        self.listed: tuple[Listed, ...] = (Listed(spec.name, CHAMPION, max(0.0, 1.0 - given)), *others)

    def described(self) -> dict[str, Any]:
        """What pipeline.yaml says about the pipeline: for pages and programs that know nothing of it yet."""
        spec = self._spec
        return {
            "name": spec.name,
            "description": spec.description,
            "task": spec.task,
            "shadows": spec.has_shadows,
            "has_source": spec.source is not None,
            "models": [asdict(one) for one in self.listed],
        }

    def named(self, name: str) -> str:
        """The model's name in the fleet, for that name or its name in pipeline.yaml.

        Raises:
            UnknownError: there is no such model.
        """
        for known in (name, name_in_fleet(self.pipeline, name)):
            if any(one.model == known for one in self.listed):
                return known
        there = ", ".join(one.model for one in self.listed)
        raise UnknownError(f"unknown model {name!r}: the models of {self.pipeline!r} are {there}")

    def report(self, path: str, watched: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each model with the path of its predictions and the monitor's entry of it in `watched`, None without one."""
        seen = {one.get("model"): one for one in watched}
        return [
            {
                **asdict(one),
                "predictions": f"{path}/{'shadows' if one.role == SHADOW else 'predictions'}?model={one.model}",
                "monitor": seen.get(one.model),
            }
            for one in self.listed
        ]
