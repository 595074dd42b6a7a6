"""One round among a pipeline's models: who answers which record, with which version.

A canary answers the keys of its share. What it cannot predict, and every other key, the champion answers. Shadows
predict all events and answer none. Every model's version is bound at the start of the round and kept to its end.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from headrace.weights.worker.source import Bound
from services.inference.routing import Router
from services.inference.runner import Events, Failed, Results
from services.inference.stream.champion import Champion
from services.inference.stream.variants import Variant, VariantObserver

Maker = tuple[str, int, str]
"""Who made a prediction: model, version and checkpoint. A plain tuple, since one is unpacked for every prediction."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Predictions of N events, in columns, in the events' order.

    Attributes:
        values: N predictions; None in the place of an event that failed.
        makers: who made each of them.
        failed: the events that nobody predicted, by index.
    """

    values: Sequence[object]
    makers: Sequence[Maker]
    failed: Mapping[int, Failed]

    @classmethod
    def by(cls, maker: Maker, results: Results) -> "Answers":
        """Everything was asked of one model."""
        return cls(results.values, [maker] * len(results), results.failed)


class Models:
    """A pipeline's models on the stream.

    Args:
        champion: answers whatever no canary does.
        variants: the further models, in the order of pipeline.yaml.
        observer: told of predictions by model, where there are several.
    """

    def __init__(self, champion: Champion, variants: Sequence[Variant], observer: VariantObserver) -> None:
        self.champion, self.several, self._observer = champion, bool(variants), observer
        self.canaries = [one for one in variants if one.spec.role == "canary"]
        self.shadows = [one for one in variants if one.spec.role == "shadow"]
        self.router = Router([one.spec.part for one in self.canaries])

    @contextmanager
    def lease(self) -> Iterator["Round"]:
        """Bind the version of every model that has one.

        An error that ends the block says something of the champion's version alone, so only its lease gets to see it.

        Raises:
            NotReady: the champion has no version yet.
        """
        with self.champion.runner.lease() as champion:
            stack = ExitStack()
            try:
                bound = {one.name: stack.enter_context(one.lease()) for one in (*self.canaries, *self.shadows)}
                yield Round(self, champion, bound)
            finally:
                stack.close()

    def champion_predicted(self, records: int) -> None:
        """So many of its predictions go out with the round."""
        if self.several:
            self._observer.model_predicted(self.champion.name, records)


class Round:
    """One round, every model bound to its version; a further model that has none yet to None."""

    def __init__(self, models: Models, champion: Bound, bound: Mapping[str, Bound | None]) -> None:
        self.champion = champion
        self._models, self._bound = models, bound
        self._champion = _maker(models.champion.name, champion)

    def answers(self, events: Events, keys: Sequence[str]) -> Answers:
        """Each event's answer: of the canary that its key names, else of the champion.

        Raises:
            DataError, WeightsError: see `Champion.predict`.
        """
        models = self._models
        if not models.canaries:
            return Answers.by(self._champion, self._of_champion(events))
        collected = _Collected(len(events), self._champion)
        for canary, chosen in zip(models.canaries, models.router.route(keys), strict=True):
            self._ask(canary, chosen, events, collected)
        left = collected.left()
        return collected.completed(left, self._of_champion([events[i] for i in left]))

    def _ask(self, canary: Variant, chosen: Sequence[int], events: Events, collected: "_Collected") -> None:
        bound = self._bound[canary.name]
        results = canary.predict(bound, [events[i] for i in chosen])
        if bound is not None:
            collected.add(chosen, results, _maker(canary.name, bound))
        canary.predicted(len(results) - len(results.failed))

    def _of_champion(self, events: Events) -> Results:
        results = self._models.champion.predict(self.champion, events) if events else Results([], {})
        self._models.champion_predicted(len(results) - len(results.failed))
        return results

    def shadows(self, events: Events) -> Iterator[tuple[Variant, Bound, Answers]]:
        """What each shadow that has a version predicts of these events; raises nothing that its model raises."""
        for shadow in self._models.shadows:
            bound = self._bound[shadow.name]
            results = shadow.predict(bound, events)
            if bound is not None:
                yield shadow, bound, Answers.by(_maker(shadow.name, bound), results)


def _maker(model: str, bound: Bound) -> Maker:
    return model, bound.version, bound.checkpoint


class _Collected:
    """The canaries' predictions among the events of a round; what they left is the champion's."""

    def __init__(self, events: int, champion: Maker) -> None:
        self._champion = champion
        self._values: list[object] = [None] * events
        self._makers = [champion] * events

    def add(self, chosen: Sequence[int], results: Results, maker: Maker) -> None:
        """Take what a canary predicted of the events at these indices."""
        values, makers, failed = self._values, self._makers, results.failed
        for place, (i, value) in enumerate(zip(chosen, results.values, strict=True)):
            if place not in failed:
                values[i], makers[i] = value, maker

    def left(self) -> list[int]:
        """The indices of the events that no canary predicted, ascending."""
        champion = self._champion
        return [i for i, maker in enumerate(self._makers) if maker is champion]

    def completed(self, left: Sequence[int], results: Results) -> Answers:
        """All answers, with the champion's results of the events that were left."""
        values = self._values
        for i, value in zip(left, results.values, strict=True):
            values[i] = value
        return Answers(values, self._makers, {left[place]: failed for place, failed in results.failed.items()})
