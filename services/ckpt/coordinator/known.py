"""The versions that a coordinator knows of one model: which are kept, which were refused, which may come next, which before."""

from headrace.contracts.events_pb2 import CheckpointPublished, Refusal, Refusals


class KnownVersions:
    """The newest checkpoints, and refusals.

    Args:
        keep: how many of the newest stay.
    """

    def __init__(self, keep: int) -> None:
        self._keep = keep
        self._trainer_epoch = 0
        self.checkpoints: dict[int, CheckpointPublished] = {}
        self.refused: dict[str, Refusal] = {}
        """By digest: versions that never serve again, but by an operator's order."""

    def add(self, published: CheckpointPublished) -> bool:
        """Take note of a checkpoint; return whether it is new. Duplicates and a fenced trainer's late ones are not."""
        if published.epoch < self._trainer_epoch or published.version in self.checkpoints:
            return False
        self._trainer_epoch = published.epoch
        if self.checkpoints and published.version < max(self.checkpoints) - self._keep:
            return False
        self.checkpoints[published.version] = published
        return True

    def refuse(self, chosen: CheckpointPublished, *, served: bool) -> None:
        """Never try a version again."""
        digest = chosen.manifest_digest
        self.refused[digest] = Refusal(version=chosen.version, manifest_digest=digest, served=served)

    @property
    def refusals(self) -> Refusals:
        """As a directive carries them, ascending."""
        return Refusals(refused=sorted(self.refused.values(), key=lambda refusal: refusal.version))

    def next_after(self, active: int) -> CheckpointPublished | None:
        """The newest version that may serve after ``active``: newer also than every one that served and was refused."""
        floor = max([active, *(refusal.version for refusal in self.refused.values() if refusal.served)])
        fit = (c for v, c in self.checkpoints.items() if v > floor and c.manifest_digest not in self.refused)
        return max(fit, key=lambda c: c.version, default=None)

    def before(self, active: int, previous: int) -> CheckpointPublished | None:
        """The version to go back to: ``previous``, which workers keep warm, else the newest that was not refused."""
        usable = {v: c for v, c in self.checkpoints.items() if v < active and c.manifest_digest not in self.refused}
        return usable.get(previous) or usable.get(max(usable, default=0))

    def why_not(self, asked: int, active: int) -> str:
        """Why no version can be served in answer to a request to go back to ``asked``; 0 is the one before."""
        if asked > active:
            return f"version {asked} is newer than the active {active}: there is nothing to roll back to"
        older = ", ".join(str(v) for v in sorted(self.checkpoints) if v < active)
        if not asked and older:
            return f"every version kept before the active {active} was refused; name one of {older} to serve it all the same"
        kept = f"kept are {older}" if older else f"none older than the active {active} is kept"
        return f"version {asked} is not kept any more, or never was: {kept}" if asked else kept

    def forget(self, named: set[int], digests: set[str]) -> None:
        """Keep the newest versions, and those that are named by version or digest."""
        stay = set(sorted(self.checkpoints)[-self._keep :]) | named
        self.checkpoints = {v: c for v, c in self.checkpoints.items() if v in stay or c.manifest_digest in digests}
        oldest = min(self.checkpoints, default=0)
        self.refused = {digest: refusal for digest, refusal in self.refused.items() if refusal.version >= oldest}
