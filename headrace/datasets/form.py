"""How files are to be read, where they do not say it themselves."""

from typing import Literal

import msgspec

from headrace.datasets.errors import BadInput

ColumnType = Literal["text", "int", "float", "bool", "date", "time"]


class Form(msgspec.Struct, frozen=True, kw_only=True):
    """How files are to be read, where they do not say it themselves.

    Attributes:
        delimiter: of CSV files; None finds it out.
        encoding: of text files; None goes by the byte-order mark, else UTF-8.
        sheet: of workbooks, by name; "" is the only one that has rows.
        header_row: the row of a workbook with the columns' names, from 1; 0 is the first that is not empty.
        header_rows: how many rows the names take in a workbook; those below each other are joined by a space.
        decimal: what numbers in text have before their fraction; "" finds it out.
        dates: what 01/02/2026 means; "" finds it out.
        zone: of times that name none, as `Europe/Berlin`.
        types: the type of a column by its name, instead of what its cells look like.
    """

    delimiter: str | None = None
    encoding: str | None = None
    sheet: str = ""
    header_row: int = 0
    header_rows: int = 1
    decimal: Literal["", ".", ","] = ""
    dates: Literal["", "day-first", "month-first"] = ""
    zone: str = ""
    types: dict[str, ColumnType] = {}

    def __post_init__(self) -> None:
        if self.header_row < 0 or self.header_rows < 1:
            raise BadInput("header rows are counted from 1")
