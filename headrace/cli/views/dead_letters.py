"""Dead letters as people see them: a table, and everything about one."""

import string
from collections.abc import Iterable, Sequence

from rich.table import Table
from rich.text import Text

from headrace.contracts.plain_values import text, time_of
from headrace.deadletters.plan import Plan
from headrace.deadletters.read import Listed

_WIDTH = 16
_PRINTABLE = frozenset(string.printable.encode()) - frozenset(b"\x0b\x0c")


def table(rows: Sequence[Listed]) -> Table:
    """Letters, and whether each was put back."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("letter", "record", "when", "phase", "service", "version", "size", "back"):
        made.add_column(heading, no_wrap=True, justify="right" if heading in {"version", "size"} else "left")
    made.add_column("reason", no_wrap=True, overflow="ellipsis", ratio=1)
    for row in rows:
        letter, body = row.letter, row.letter.body
        cells = [letter.place, letter.source, time_of(body.at_us / 1e6)[:19], body.phase, body.service]
        version, size = str(body.model_version or "-"), f"{len(body.value):,} B"
        reason = Text(body.reason.partition("\n")[0])  # as it is: brackets in it are no markup
        made.add_row(
            Text(cells[0], "cyan"), *map(Text, cells[1:]), version, size, "yes" if row.replayed else "-", reason
        )
    return made


def planned(topic: str, plan: Plan) -> str:
    """What a replay of the letters of `topic` is to do, on one line."""
    parts = [f"{len(plan.fresh):,} to put back", f"{plan.replayed:,} put back already"]
    parts += [f"{plan.same_record:,} of a record that another letter is of too"] if plan.same_record else []
    parts += [f"{plan.passed_over:,} not selected"] if plan.passed_over else []
    return f"{topic}: {plan.chosen + plan.passed_over:,} dead letters: {', '.join(parts)}"


def described(listed: Listed) -> str:
    """Everything about a letter, on lines."""
    letter, body = listed.letter, listed.letter.body
    error = f"{body.error_type}: {body.reason}" if body.error_type else body.reason
    timestamp = time_of(body.timestamp_ms / 1e3) if body.timestamp_ms else "none"
    fields = {
        "letter": letter.place,
        "record": letter.source,
        "timestamp": timestamp,
        "failed": f"{time_of(body.at_us / 1e6)} in {body.phase}, {body.service}",
        "model": f"{body.model} version {body.model_version}" if body.model_version else body.model,
        "attempt": f"{letter.attempt} times put back before" if letter.attempt else "",
        "put back": "yes" if listed.replayed else "no",
        "reason": error,
        "key": text(body.key) if body.HasField("key") else "none",
    }
    lines = [f"{name:<10} {value}" for name, value in fields.items() if value]
    headers = [(h.name, text(h.value) if h.HasField("value") else "none") for h in body.headers]
    lines += [f"{'header':<10} {name} = {value}" for name, value in headers]
    if not body.HasField("value"):
        return "\n".join([*lines, f"{'value':<10} none: a tombstone"])
    return "\n".join([*lines, f"{'value':<10} {len(body.value):,} bytes", *shown(body.value)])


def shown(value: bytes) -> Iterable[str]:
    """Bytes as they are where they are printable text, else in hexadecimal, 16 a line, with the text beside it."""
    try:
        plain = value.decode()
    except UnicodeDecodeError:
        plain = None
    if plain is not None and all(byte in _PRINTABLE or byte >= 0x80 for byte in value):
        return plain.splitlines()
    return (_hex_line(value, at) for at in range(0, len(value), _WIDTH))


def _hex_line(value: bytes, at: int) -> str:
    part = value[at : at + _WIDTH]
    readable = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
    return f"{at:08x}  {part.hex(' '):<{_WIDTH * 3 - 1}}  {readable}"
