"""What python-calamine does not tell of .xlsx files: how large they are unpacked, and which cells hold an error."""

import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree as ET

from headrace.datasets.errors import BadInput

SUFFIXES = (".xlsx", ".xlsm")
BOOKS = (*SUFFIXES, ".xlsb", ".xls", ".ods")
"""Names of all workbooks end in one of these."""
MOST_BYTES = 4 << 30
_CELL = re.compile(rb'<c\s[^>]*\bt="e"[^>]*>')
_PLACE = re.compile(rb'\br="([A-Z]+[0-9]+)"')
_VALUE = re.compile(rb"<v>([^<]*)</v>")
_PIECE = 1 << 20
_OVERLAP = 1024
_NS = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_ID = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def check_size(shown: str, path: Path) -> None:
    """Raise `BadInput` if a workbook would be larger than 4 GiB in memory: its rows are all held there."""
    try:
        with zipfile.ZipFile(path) as book:
            size = sum(part.file_size for part in book.infolist())
    except (OSError, zipfile.BadZipFile):
        return  # of another kind, or damaged, which its reader says
    if size > MOST_BYTES:
        raise BadInput(f"{shown}: {size} bytes unpacked, {MOST_BYTES} are allowed", hint="save it as CSV")


def check_errors(shown: str, path: Path, sheet: str) -> None:
    """Raise `BadInput` if a cell holds an error such as #DIV/0!, which would be read as an empty one."""
    if path.suffix.lower() not in SUFFIXES:
        return
    try:
        with zipfile.ZipFile(path) as book, book.open(_part(book, sheet)) as data:
            before = b""
            while piece := data.read(_PIECE):
                text = before + piece
                if (found := _CELL.search(text)) is not None:
                    text += data.read(_OVERLAP)
                    _refuse(f"{shown}, sheet {sheet}", found[0], text[found.end() : found.end() + _OVERLAP])
                before = text[-_OVERLAP:]
    except (KeyError, OSError, ET.ParseError, zipfile.BadZipFile) as error:
        raise BadInput(f"{shown}: cannot be read as a workbook: {error}") from error


def _part(book: zipfile.ZipFile, sheet: str) -> str:
    """The part of the archive that is the sheet."""
    listed = ET.fromstring(book.read("xl/workbook.xml"))  # noqa: S314 - expat bounds the expansion of entities
    by_name = {one.get("name"): one.get(_ID) for one in listed.iter(f"{_NS}sheet")}
    relations = ET.fromstring(book.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
    target = next(str(one.get("Target")) for one in relations if one.get("Id") == by_name[sheet])
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _refuse(where: str, cell: bytes, rest: bytes) -> None:
    place, value = _PLACE.search(cell), _VALUE.search(rest)
    at = place[1].decode() if place else "a cell"
    what = value[1].decode(errors="replace") if value else "an error"
    raise BadInput(f"{where}, {at}: {what}", hint="mend the formula, or empty the cell")
