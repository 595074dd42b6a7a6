"""API keys as people see them."""

import re
from collections.abc import Sequence
from datetime import timedelta

from rich.table import Table
from rich.text import Text

from headrace.contracts.access import ApiKey
from headrace.contracts.plain_values import time_of
from headrace.runtime.errors import ConfigError

_DURATION = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def duration(said: str) -> timedelta:
    """A duration such as 90d, 12h, 30m.

    Raises:
        ConfigError: it is none.
    """
    found = _DURATION.fullmatch(said)
    if found is None:
        raise ConfigError(f"{said!r} is not a duration", hint="a number and s, m, h or d: 90d")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise ConfigError(f"{said!r} is too long", hint="leave --expires out for a key without end") from None


def table(keys: Sequence[ApiKey], now: float) -> Table:
    """The keys and what became of them; `now` in seconds since the epoch."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("key", "name", "state", "scopes", "rate", "made", "by", "expires"):
        made.add_column(heading, no_wrap=True)
    for key in keys:
        rate = f"{key.rate:g}/s" if key.rate else "-"
        expires = time_of(key.expires_us / 1e6)[:16] if key.expires_us else "never"
        cells = (state(key, now), ", ".join(key.scopes), rate, time_of(key.created_us / 1e6)[:16], key.created_by)
        made.add_row(Text(key.id, "cyan"), Text(key.name), *map(Text, cells), Text(expires))
    return made


def state(key: ApiKey, now: float) -> str:
    """Whether it counts."""
    if key.revoked_us:
        return "revoked"
    return "expired" if key.expires_us and key.expires_us <= now * 1e6 else "valid"
