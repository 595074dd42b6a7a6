"""The versions of one model that requests may name: by number, or by a label.

Numbers are those that the model's version policy keeps. `latest`, or -1, is whichever version is live when the request
is executed, as where none is named. `stable` is the version that the fleet serves, and `canary` the one that some of
its workers try, while they do; on a worker that serves a canary, `latest` is the canary. Further labels are settings.
"""

from collections.abc import Mapping

from headrace.weights.worker.source import VersionedWeights
from services.inference.oip.labels import FLEETS, LATEST, NEWEST, NUMBER, no_version
from services.inference.oip.messages import NotFound


class Versions:
    """See the module.

    Args:
        model: the model's name.
        weights: hold the versions.
        labels: further labels.
    """

    def __init__(self, model: str, weights: VersionedWeights, labels: Mapping[str, int]) -> None:
        self._model, self._weights, self._labels = model, weights, labels

    def named(self, name: str) -> int:
        """The number of the version of this name; 0 for the live one.

        Raises:
            InvalidRequest: it is no name of a version.
            NotFound: there is no such version here.
        """
        if name in NEWEST:
            return 0
        if not NUMBER.fullmatch(name):
            return self._labelled(name)
        number = int(name)
        if number not in self._weights.versions:
            raise NotFound(f"Request for unknown model: '{self._model}' version {name} is not found{self._kept()}")
        return number

    def _labelled(self, label: str) -> int:
        number = self._labels.get(label) or self._weights.labels.get(label)
        if number is None and label not in FLEETS:
            known = ", ".join((LATEST, *FLEETS, *self._labels))
            raise no_version(label, known)
        if number is None or (label in self._labels and number not in self._weights.versions):
            of = f"version {number}, its '{label}'," if number else f"version '{label}'"
            raise NotFound(f"Request for unknown model: '{self._model}' {of} is not found{self._kept()}")
        return number

    def _kept(self) -> str:
        versions = self._weights.versions
        return f": kept are {', '.join(map(str, versions))}" if versions else ""

    def labels_as_text(self) -> str:
        """The labels that stand for a version now, as `canary=8,latest=7,stable=7`."""
        live = {LATEST: self._weights.version} if self._weights.version else {}
        labels = {**live, **self._weights.labels, **self._labels}
        return ",".join(f"{label}={number}" for label, number in sorted(labels.items()))
