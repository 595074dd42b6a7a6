"""Writes small .xlsx workbooks: values, dates, errors and merged cells, as a spreadsheet program would keep them."""

import zipfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Default Extension="xml" ContentType="application/xml"/>
<Override PartName="/xl/workbook.xml"
 ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>
{sheets}</Types>"""
_RELS = """<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>"""
_REL = (
    '<Relationship Id="{id}" Target="{to}" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/{kind}"/>'
)
_FIRST = datetime(1899, 12, 30)  # noqa: DTZ001 - workbooks know no zones
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_STYLES = f"""<?xml version="1.0"?><styleSheet {_MAIN}><fonts count="1"><font/></fonts><fills count="1"><fill/></fills>
<borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs>
<cellXfs count="3"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/><xf numFmtId="22" applyNumberFormat="1"/>
</cellXfs></styleSheet>"""


class Error(str):
    """A cell's error, such as #N/A."""

    __slots__ = ()


def write_workbook(
    path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]], merged: Mapping[str, Sequence[str]] | None = None
) -> Path:
    """Write sheets by name, each as rows of cells; None is an empty cell. `merged` are ranges by sheet: B1:C1."""
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    numbers = range(1, len(sheets) + 1)
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for n in numbers
    )
    listed = "".join(
        f'<sheet name="{escape(name)}" sheetId="{n}" r:id="rId{n}"/>' for n, name in zip(numbers, sheets, strict=True)
    )
    rels = [_REL.format(id=f"rId{n}", kind="worksheet", to=f"worksheets/sheet{n}.xml") for n in numbers]
    rels.append(_REL.format(id="rIdS", kind="styles", to="styles.xml"))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as book:
        book.writestr("[Content_Types].xml", _TYPES.format(sheets=overrides))
        book.writestr("_rels/.rels", _RELS.format(_REL.format(id="rId1", kind="officeDocument", to="xl/workbook.xml")))
        book.writestr("xl/_rels/workbook.xml.rels", _RELS.format("".join(rels)))
        book.writestr("xl/styles.xml", _STYLES)
        book.writestr("xl/workbook.xml", f'<workbook {_MAIN} xmlns:r="{office}"><sheets>{listed}</sheets></workbook>')
        for n, (name, rows) in zip(numbers, sheets.items(), strict=True):
            ranges = (merged or {}).get(name, ())
            book.writestr(f"xl/worksheets/sheet{n}.xml", _sheet(rows, ranges))
    return path


def _sheet(rows: Sequence[Sequence[Any]], merged: Sequence[str]) -> str:
    body = "".join(
        f'<row r="{r}">{"".join(_cell(value, f"{chr(65 + c)}{r}") for c, value in enumerate(row))}</row>'
        for r, row in enumerate(rows, 1)
    )
    ranges = "".join(f'<mergeCell ref="{one}"/>' for one in merged)
    tail = f'<mergeCells count="{len(merged)}">{ranges}</mergeCells>' if merged else ""
    return f"<worksheet {_MAIN}><sheetData>{body}</sheetData>{tail}</worksheet>"


def _cell(value: Any, at: str) -> str:
    if value is None:
        return ""
    if isinstance(value, Error):
        return f'<c r="{at}" t="e"><v>{value}</v></c>'
    if isinstance(value, bool):
        return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, date):
        days = (value - _FIRST) if isinstance(value, datetime) else value - date(1899, 12, 30)
        return f'<c r="{at}" s="{2 if isinstance(value, datetime) else 1}"><v>{days.total_seconds() / 86400}</v></c>'
    if isinstance(value, int | float):
        return f'<c r="{at}"><v>{value!r}</v></c>'
    return f'<c r="{at}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'
