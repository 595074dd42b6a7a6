"""An item and the work on it, as they are held in memory."""

from dataclasses import dataclass

from headrace.contracts.labelling import Decision, LabelItem, LabelWork

WAITING = frozenset({"open", "review"})
"""States in which an item waits for a person."""
DONE = frozenset({"published", "closed"})


@dataclass(slots=True)
class Entry:
    """An item, the work on it, and the bytes of the item's record."""

    item: LabelItem
    work: LabelWork
    size: int

    @property
    def id(self) -> str:
        """The item's id."""
        return self.item.id

    @property
    def live(self) -> list[Decision]:
        """The decisions that nobody took back, in order."""
        return [decision for decision in self.work.decisions if not decision.undone_ms]

    @property
    def labels(self) -> list[Decision]:
        """The labels that count, in order: the first person's, then the reviewer's."""
        return [decision for decision in self.live if decision.kind != "skip"]

    @property
    def deciding(self) -> Decision | None:
        """The label that is published: the reviewer's where there is one."""
        found = self.labels
        return found[-1] if found else None

    @property
    def published_label(self) -> bytes | None:
        """The label that is on the labels topic, the newest; None before that."""
        if not self.work.published:
            return None
        name = self.work.published[-1].decision
        return next((bytes(d.label) for d in reversed(self.work.decisions) if d.id == name), None)

    def skipped_by(self, labeller: str) -> bool:
        """Whether this person skipped it."""
        return any(d.kind == "skip" and d.labeller == labeller for d in self.live)

    def labelled_by(self, labeller: str) -> bool:
        """Whether this person's label counts."""
        return any(d.labeller == labeller for d in self.labels)
