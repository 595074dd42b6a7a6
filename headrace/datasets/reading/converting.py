"""Cells of text to values of a column's kind: as a whole where all fit, else one by one, to say which do not."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from headrace.datasets.errors import BadInput
from headrace.datasets.reading.kinds import Kind, stripped
from headrace.replay.csv_file import MISSING

TIME, LOCAL = pa.timestamp("us", "UTC"), pa.timestamp("us")
_TYPES = {
    "text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "date": pa.date32(),
}  # fmt: skip
_MISSING = pa.array(MISSING)
_SHOWN = 60


class Converted(NamedTuple):
    """A column's values, null where a cell is missing or bad; `bad` says what is wrong, by row."""

    values: pa.Array
    bad: dict[int, str]


def zone_of(name: str) -> ZoneInfo | None:
    """The zone of that name; None for "".

    Raises:
        BadInput: there is none.
    """
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadInput(
            f"--zone {name[:100]!r}: no such time zone", hint="as Europe/Berlin, America/New_York, UTC"
        ) from error


def arrow_type(kind: Kind, zone: ZoneInfo | None) -> pa.DataType:
    """The column's type."""
    if kind.type == "time":
        return LOCAL if kind.local and zone is None else TIME
    return _TYPES[kind.type]


def convert(cells: pa.Array, kind: Kind, zone: ZoneInfo | None) -> Converted:
    """Text to values. In text an empty cell is missing, in other kinds `NA`, `null` and `None` are too."""
    if kind.type == "text":
        return Converted(pc.if_else(pc.equal(cells, ""), pa.scalar(None, pa.string()), cells), {})
    values = stripped(cells)
    values = pc.if_else(pc.is_in(values, _MISSING), pa.scalar(None, pa.string()), values)
    wanted = arrow_type(kind, zone)
    try:
        whole = _WHOLE[kind.type](values, kind, zone)
        if whole is not None:
            return Converted(whole, {})
    except pa.ArrowInvalid:
        pass
    return _one_by_one(values, kind, zone, wanted)


def _one_by_one(values: pa.Array, kind: Kind, zone: ZoneInfo | None, wanted: pa.DataType) -> Converted:
    made: list[Any] = []
    bad: dict[int, str] = {}
    known: dict[str, Any] = {}
    for i, text in enumerate(values.to_pylist()):
        if text is None:
            made.append(None)
            continue
        if text not in known:
            try:
                known[text] = _ONE[kind.type](text, kind, zone)
            except (ValueError, OverflowError) as error:
                known[text] = _Bad(f"{text[:_SHOWN]!r}: {error}")
        value = known[text]
        if isinstance(value, _Bad):
            bad[i] = value.problem
            value = None
        made.append(value)
    return Converted(pa.array(made, wanted), bad)


class _Bad(NamedTuple):
    problem: str


# Whole columns. None: it must be done one by one.


def _ints(values: pa.Array, _: Kind, __: Any) -> pa.Array | None:
    return pc.replace_substring_regex(_without_nan(values), r"^\+", "").cast(pa.int64())


def _floats(values: pa.Array, kind: Kind, _: Any) -> pa.Array | None:
    made = _pointed(_without_nan(values), kind.decimal).cast(pa.float64())
    return made if pc.all(pc.is_finite(made)).as_py() is not False else None


def _bools(values: pa.Array, _: Kind, __: Any) -> pa.Array | None:
    return pc.utf8_lower(values).cast(pa.bool_()) if _all(values, r"^(?i:true|false)$") else None


def _dates(values: pa.Array, kind: Kind, _: Any) -> pa.Array | None:
    return None if kind.order else values.cast(pa.date32())


def _times(values: pa.Array, kind: Kind, zone: ZoneInfo | None) -> pa.Array | None:
    if kind.order or zone is not None:
        return None
    if kind.local:
        return pc.replace_substring_regex(values, r",(\d)", r".\1").cast(LOCAL)
    plain = pc.replace_substring_regex(values, r"\[[^\]]*\]$", "")
    plain = pc.replace_substring_regex(plain, r"\s?(Z|z|UTC|GMT)$", "Z")
    plain = pc.replace_substring_regex(plain, r"\s([+-]\d{2}:?\d{0,2})$", r"\1")
    return pc.replace_substring_regex(plain, r",(\d)", r".\1").cast(TIME)


_WHOLE: dict[str, Callable[[pa.Array, Kind, ZoneInfo | None], pa.Array | None]] = {
    "int": _ints, "float": _floats, "bool": _bools, "date": _dates, "time": _times,
}  # fmt: skip


def _without_nan(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.match_substring_regex(values, r"^[+-]?(?i:nan)$"), pa.scalar(None, pa.string()), values)


def _pointed(values: pa.Array, decimal: str) -> pa.Array:
    values = pc.replace_substring_regex(values, r"^\+", "")
    if decimal == ".":
        return pc.replace_substring_regex(values, r"(\d),(\d{3})", r"\1\2")
    return pc.replace_substring(pc.replace_substring_regex(values, r"(\d)\.(\d{3})", r"\1\2"), ",", ".")


def _all(values: pa.Array, pattern: str) -> bool:
    return pc.all(pc.match_substring_regex(values, pattern)).as_py() is not False


# One cell; ValueError says what is wrong.


def _int(text: str, _: Kind, __: Any) -> int | None:
    if text.lower() == "nan":
        return None
    if not text.lstrip("+-").isdigit() or not text.isascii():
        raise ValueError("expected a whole number")
    value = int(text)
    if not -(2**63) <= value < 2**63:
        raise ValueError("beyond 64 bits")
    return value


def _float(text: str, kind: Kind, _: Any) -> float | None:
    if text.lower().lstrip("+-") == "nan":
        return None
    plain = _pointed(pa.array([text]), kind.decimal)[0].as_py()
    try:
        value = float(plain) if plain.isascii() and "_" not in plain else None
    except ValueError:
        value = None
    if value is None:
        raise ValueError("expected a number")
    if value in (float("inf"), float("-inf")):
        raise ValueError("expected a finite number")
    return value


def _bool(text: str, _: Kind, __: Any) -> bool:
    found = {"true": True, "false": False}.get(text.lower())
    if found is None:
        raise ValueError("expected true or false")
    return found


def _date(text: str, kind: Kind, _: Any) -> date:
    if kind.order:
        return _ordered(text, kind.order).date()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError("expected a date, as 2026-01-31") from None


def _time(text: str, kind: Kind, zone: ZoneInfo | None) -> datetime:
    if kind.order:
        found = _ordered(text, kind.order)
    else:
        try:
            found = datetime.fromisoformat(_plain_time(text))
        except ValueError:
            raise ValueError("expected a time, as 2026-01-31T12:00:00Z") from None
    if found.tzinfo is not None:
        return found.astimezone(UTC)
    if zone is not None:
        return placed(found, zone)
    if kind.local:
        return found
    raise ValueError("a time without a zone")


def _plain_time(text: str) -> str:
    text = text.partition("[")[0].strip()
    for name in ("UTC", "GMT", "Z", "z"):
        if text.endswith(name):
            return f"{text.removesuffix(name).strip()}+00:00"
    head, sign, offset = text[:11], "", text[11:]
    for mark in "+-":
        clock, found, rest = offset.partition(mark)
        if found:
            return f"{head}{clock.strip()}{mark}{rest}"
    return head + sign + offset


def placed(local: datetime, zone: ZoneInfo) -> datetime:
    """A local time as UTC.

    Raises:
        ValueError: the zone has no such time, or has it twice, since its clocks were changed.
    """
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != local:
        raise ValueError(f"{zone.key} has no such time: clocks were put forward")
    if first.utcoffset() != second.utcoffset():
        raise ValueError(f"{zone.key} has this time twice: clocks were put back; write an offset")
    return first.astimezone(UTC)


def _ordered(text: str, order: str) -> datetime:
    """31.12.2026, 31/12/2026 or 12/31/2026, with a time or without."""
    day, _, clock = text.replace(",", " ").partition(" ")
    parts = [int(part) for part in day.replace(".", "/").split("/")]
    if len(parts) != 3:
        raise ValueError("expected a date")
    number, month, year = parts if order == "day-first" else [parts[1], parts[0], parts[2]]
    clock = clock.strip()
    half = clock[-2:].lower() if clock[-1:] in "mM" and clock else ""
    times = [int(part) for part in clock[: len(clock) - len(half)].strip().split(":")] if clock else [0]
    if half:
        if not 1 <= times[0] <= 12:
            raise ValueError("expected an hour from 1 to 12")
        times[0] = times[0] % 12 + (12 if half == "pm" else 0)
    hour, minute, second = (*times, 0, 0)[:3]
    return datetime(year, month, number, hour, minute, second)  # noqa: DTZ001 - its zone is found next


_ONE: dict[str, Callable[[str, Kind, ZoneInfo | None], Any]] = {
    "int": _int, "float": _float, "bool": _bool, "date": _date, "time": _time,
}  # fmt: skip
