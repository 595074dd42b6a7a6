"""What a column of text holds, by all of its cells: numbers, times or text, and how they are written.

A cell belongs to the first class of `_CLASSES` whose pattern it fits. When all cells were seen, the classes of a column
decide what it is. Where they allow two readings (1,234 may be 1234 or 1.234, 01/02/2026 two days) the whole file is
asked; where that does not say it either, the column is refused and the error names a cell: nothing is guessed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from headrace.datasets.errors import BadInput
from headrace.datasets.form import ColumnType, Form
from headrace.replay.csv_file import MISSING

_ZONE = r"\s?(Z|z|UTC|GMT|[+-]\d{2}(:?\d{2})?)(\[[A-Za-z_/+-]+\])?"
_MINUTE = r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}"
_CLOCK = _MINUTE + r"(:\d{2}([.,]\d{1,6})?)?"
_LATER = r"(,?\s+\d{1,2}:\d{2}(:\d{2})?(\s?[AaPp][Mm])?)?$"
_GROUPED = r"^[+-]?[1-9]\d{0,2}"
_CLASSES = (
    ("int", r"^[+-]?(0|[1-9]\d{0,17})$"),
    ("zeros", r"^[+-]?0\d+$"),
    ("big", r"^[+-]?[1-9]\d{18,}$"),
    ("1.234", _GROUPED + r"\.\d{3}$"),
    ("1,234", _GROUPED + r",\d{3}$"),
    ("1.234.567", _GROUPED + r"(\.\d{3}){2,}$"),
    ("point", r"^[+-]?(\d+\.\d*|\.\d+)([eE][+-]?\d+)?$|^[+-]?\d+[eE][+-]?\d+$"),
    ("point", _GROUPED + r"(,\d{3})+\.\d+$|" + _GROUPED + r"(,\d{3}){2,}$"),
    ("comma", r"^[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?$|" + _GROUPED + r"(\.\d{3})+,\d+$"),
    ("nan", r"^[+-]?(?i:nan)$"),
    ("bool", r"^(?i:true|false)$"),
    ("date", r"^\d{4}-\d{2}-\d{2}$"),
    ("zoned", f"^{_CLOCK}{_ZONE}$"),
    ("local", f"^{_CLOCK}$"),
    ("fine", rf"^{_MINUTE}:\d{{2}}[.,]\d{{7,}}({_ZONE})?$"),
    ("zone word", rf"^{_CLOCK}\s?\[?[A-Za-z_/]+\]?$"),
    ("dotted", r"^\d{1,2}\.\d{1,2}\.\d{4}" + _LATER),
    ("day/", r"^(1[3-9]|2\d|3[01])/\d{1,2}/\d{4}" + _LATER),
    ("month/", r"^\d{1,2}/(1[3-9]|2\d|3[01])/\d{4}" + _LATER),
    ("slashed", r"^\d{1,2}/\d{1,2}/\d{4}" + _LATER),
)
_NUMBERS = {"int", "1.234", "1,234", "1.234.567", "point", "comma", "nan"}
_ISO = {"date", "zoned", "local"}
_SLASHED = {"day/", "month/", "slashed"}
_DATED = _ISO | _SLASHED | {"dotted"}
_TIMES = _DATED | {"fine", "zone word"}
_MISSING = pa.array(MISSING)
_SURE = ("point", "comma")


@dataclass(frozen=True)
class Kind:
    """How a column's cells are read: `decimal` of numbers, `order` of dates that are not ISO 8601."""

    type: ColumnType
    decimal: str = "."
    order: str = ""
    local: bool = False
    """Of times: no cell names a zone."""


@dataclass
class Column:
    """A column's name, where in the file it is, and the first row of each class of cells that was seen."""

    name: str
    place: str
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, cells: pa.Array, numbers: Sequence[int]) -> None:
        """Look at cells, which stand in these rows."""
        if "text" in self.seen:
            return
        rest, rows = stripped(cells), pa.array(numbers)
        known = pc.invert(pc.or_kleene(pc.is_null(rest), pc.is_in(rest, _MISSING)))
        rest, rows = rest.filter(known), rows.filter(known)
        for name, pattern in (*_CLASSES, ("text", "")):
            if not len(rest):
                return
            fits = pc.match_substring_regex(rest, pattern)
            found = pc.index(fits, value=True).as_py()
            if found < 0:
                continue
            self.seen.setdefault(name, (rows[found].as_py(), rest[found].as_py()))
            if name in {"dotted", *_SLASHED} and pc.any(pc.match_substring(rest.filter(fits), ":")).as_py():
                self.seen.setdefault("clock", self.seen[name])
            others = pc.invert(fits)
            rest, rows = rest.filter(others), rows.filter(others)

    @property
    def classes(self) -> set[str]:
        """What was seen."""
        return set(self.seen) - {"clock"}


def stripped(cells: pa.Array) -> pa.Array:
    """The cells without spaces around them."""
    return pc.utf8_trim_whitespace(cells)


class Deciding:
    """Decides about all columns of a file. `where` says where a row is, for errors."""

    def __init__(self, columns: Sequence[Column], form: Form, where: str) -> None:
        self._columns, self._form, self._where = columns, form, where
        numeric = [column.classes for column in columns if column.classes and column.classes <= _NUMBERS]
        self._file = {sure for sure in _SURE if any(sure in classes for classes in numeric)}

    def kinds(self, forced: Mapping[str, ColumnType]) -> list[Kind]:
        """What each column is, where it is not `forced` to be something.

        Raises:
            BadInput: a column has two readings.
        """
        return [self._kind(column, forced.get(column.name)) for column in self._columns]

    def _kind(self, column: Column, forced: ColumnType | None) -> Kind:
        classes = column.classes
        if forced is not None:
            return self._forced(column, forced)
        if not classes or "text" in classes:
            return Kind("text")
        if classes <= _NUMBERS:
            return self._number(column)
        if classes & _TIMES:
            return self._times(column)
        return Kind("bool") if classes == {"bool"} else Kind("text")

    def _forced(self, column: Column, kind: ColumnType) -> Kind:
        if kind == "float":
            return Kind("float", decimal=self._decimal(column) or ".")
        if kind in ("date", "time") and column.classes and column.classes <= _DATED:
            found = self._times(column)
            return replace(found, type=kind)
        return Kind(kind)

    def _number(self, column: Column) -> Kind:
        if column.classes <= {"int", "nan"}:
            return Kind("int") if "int" in column.classes else Kind("float")
        decimal = self._decimal(column)
        return Kind("float", decimal=decimal) if decimal else Kind("text")

    def _decimal(self, column: Column) -> str:
        """A point or a comma; "" where the column is no number after all."""
        sure = [name for name in _SURE if name in column.seen]
        if len(sure) == 2:
            self._refuse(column, "a decimal point here, and a decimal comma there", *_SURE)
        asked = {".": "point", ",": "comma"}.get(self._form.decimal)
        if asked and sure and sure != [asked]:
            self._refuse(column, f"not written with a decimal {asked}", sure[0])
        style = asked or (sure[0] if sure else None)
        if style is None and column.classes == {"1.234.567"}:
            return ""
        if style is None:
            style = self._by_file(column)
        if style == "point" and "1.234.567" in column.seen:
            self._refuse(column, "dots that are no decimal points", "1.234.567")
        return "." if style == "point" else ","

    def _by_file(self, column: Column) -> str:
        comma, point = "1,234" in column.seen, "1.234" in column.seen
        if comma and not point and len(self._file) == 1:
            return next(iter(self._file))
        if point and not comma and "comma" not in self._file:
            return "point"
        if comma or point or "1.234.567" in column.seen:
            name = "1,234" if comma else "1.234" if point else "1.234.567"
            self._refuse(column, "thousands, or a fraction?", name, hint="say what it is: --decimal , or --decimal .")
        return "point"

    def _times(self, column: Column) -> Kind:
        classes = column.classes
        if "fine" in classes:
            self._refuse(column, "finer than microseconds, which are kept", "fine", hint=_as_text(column))
        if "zone word" in classes:
            hint = f"write an offset, as +01:00, or Z; {_as_text(column)}"
            self._refuse(column, "a zone by a name, which is no fixed offset", "zone word", hint=hint)
        if classes <= _ISO:
            return self._iso(column, classes)
        if classes == {"dotted"}:
            return self._dated(column, "day-first")
        if classes <= _SLASHED:
            return self._dated(column, self._order(column, classes))
        if classes <= _DATED:
            self._refuse(column, "dates are written in several ways", *sorted(classes)[:2], hint=_as_text(column))
        return Kind("text")

    def _iso(self, column: Column, classes: set[str]) -> Kind:
        if classes == {"date"}:
            return Kind("date")
        if "zoned" in classes and classes != {"zoned"} and not self._form.zone:
            other = "local" if "local" in classes else "date"
            self._refuse(column, "no zone here, and one there", other, "zoned", hint="--zone names that of the others")
        return Kind("time", local="zoned" not in classes)

    def _order(self, column: Column, classes: set[str]) -> str:
        if {"day/", "month/"} <= classes:
            self._refuse(column, "day and month in either order", "day/", "month/", hint=_as_text(column))
        said = self._form.dates
        order = "day-first" if "day/" in classes else "month-first" if "month/" in classes else said
        if said and order != said:
            self._refuse(column, f"not {said}", "day/" if "day/" in classes else "month/")
        if not order:
            hint = "--dates day-first or --dates month-first"
            self._refuse(column, "which is the day, and which the month?", "slashed", hint=hint)
        return order

    def _dated(self, column: Column, order: str) -> Kind:
        timed = "clock" in column.seen
        return Kind("time" if timed else "date", order=order, local=timed)

    def _refuse(self, column: Column, problem: str, *classes: str, hint: str = "") -> None:
        cells = [f"{column.seen[name][1]!r} in row {column.seen[name][0]}" for name in classes]
        where = f"{self._where}, row {column.seen[classes[0]][0]}, column {column.name}"
        raise BadInput(f"{where}: {', '.join(cells)}: {problem}", hint=hint or _as_text(column))


def _as_text(column: Column) -> str:
    return f"--type {column.name}=text keeps it as it is written"
