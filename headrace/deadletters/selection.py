"""Which dead letters are meant, as an operator says it: by phase, reason, age or place."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headrace.deadletters.letters import Letter
from headrace.runtime.errors import ConfigError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@dataclass(frozen=True)
class Selection:
    """Which letters: all conditions must hold; `places` (partition, offset) of None is any."""

    phase: str | None = None
    reason: str = ""
    since_us: int = 0
    places: frozenset[tuple[int, int]] | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether it is one of them. Phase must be equal; reason is a part of the text, in either case."""
        return (
            (self.phase is None or letter.body.phase == self.phase)
            and self.reason.lower() in letter.body.reason.lower()
            and letter.body.at_us >= self.since_us
            and (self.places is None or (letter.partition, letter.offset) in self.places)
        )


def parse_place(text: str) -> tuple[int, int]:
    """`PARTITION:OFFSET`.

    Raises:
        ConfigError: it is not that.
    """
    found = re.fullmatch(r"(\d+):(\d+)", text)
    if found is None:
        raise ConfigError(
            f"{text!r} is not the place of a dead letter", hint="PARTITION:OFFSET, as headrace dlq list shows it"
        )
    return int(found[1]), int(found[2])


def parse_since(text: str, now: datetime) -> int:
    """Microseconds since the epoch of `15m`, `2h`, `3d` before `now`, or of a time in ISO 8601 (UTC without a zone).

    Raises:
        ConfigError: it is neither.
    """
    try:
        if found := re.fullmatch(r"(\d+)([smhd])", text):
            at = now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        else:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{text!r} is not a time", hint="30s, 15m, 2h, 3d, or 2026-03-01T12:00") from error
    return int(at.timestamp() * 1e6)
