"""Files as people have them are read right, or refused with the reading that would be right."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.model.source import Timed
from headrace.replay.files import read_files
from headrace.replay.text import FileFormat
from headrace.runtime.errors import ConfigError


class Reading(msgspec.Struct):
    id: str
    load: float
    ambient_temp: float
    count: int = 0
    note: str = ""


TEXT = "id,load,ambient_temp\nMünchen,0.5,21\nb,0.25,20.5\n"
READ = [Reading("München", 0.5, 21.0), Reading("b", 0.25, 20.5)]
LINES = b'{"id":"M\xc3\xbcnchen","load":0.5,"ambient_temp":21}\n\n{"id":"b","load":0.25,"ambient_temp":20.5}\n'.decode()
OTHER = "if the file is in another encoding, name it: --encoding latin-1, cp1252, ..."


def read(path: Path, content: bytes, delimiter: str | None = None, encoding: str | None = None) -> list[Any]:
    """Records, and the text of bad rows without the folder."""
    path.write_bytes(content)
    items = read_files(path, None, (Reading, Reading), None, FileFormat.of(delimiter, encoding))
    return [item.value if isinstance(item, Timed) else str(item).removeprefix(f"{path.parent}/") for item in items]


def apart(separator: str) -> bytes:
    return TEXT.replace(",", separator).encode()


# name: file, its bytes, --delimiter, --encoding
RIGHT: dict[str, tuple[str, bytes, str | None, str | None]] = {
    "a comma": ("e.csv", TEXT.encode(), None, None),
    "a semicolon": ("e.csv", apart(";"), ";", None),
    "a tab": ("e.csv", apart("\t"), "\\t", None),
    "a tab by name": ("e.csv", apart("\t"), "tab", None),
    "a .tsv file": ("e.tsv", apart("\t"), None, None),
    "a .tsv file with commas": ("e.tsv", TEXT.encode(), ",", None),
    "a bar": ("e.csv", apart("|"), "|", None),
    "Excel's first line": ("e.csv", b"sep=;\r\n" + apart(";"), None, None),
    "UTF-8 with a mark": ("e.csv", TEXT.encode("utf-8-sig"), None, None),
    "UTF-8 with a mark, by name": ("e.csv", TEXT.encode("utf-8-sig"), None, "utf8"),
    "UTF-16 with a mark": ("e.csv", TEXT.encode("utf-16"), None, None),
    "big-endian UTF-16 with a mark": ("e.csv", b"\xfe\xff" + TEXT.encode("utf-16-be"), None, None),
    "UTF-16 with a mark, by its order": ("e.csv", TEXT.encode("utf-16"), None, "utf-16-le"),
    "UTF-16 without a mark": ("e.csv", TEXT.encode("utf-16-le"), None, "utf-16-le"),
    "UTF-32": ("e.csv", TEXT.encode("utf-32"), None, None),
    "UTF-16 and tabs, as Excel's Unicode text": ("e.csv", TEXT.replace(",", "\t").encode("utf-16"), "tab", None),
    "Latin-1": ("e.csv", TEXT.encode("latin-1"), None, "latin-1"),
    "Latin-1 with semicolons": ("e.csv", TEXT.replace(",", ";").encode("latin-1"), ";", "latin1"),
    "the lines of a Macintosh": ("e.csv", TEXT.replace("\n", "\r").encode(), None, None),
    "the lines of Windows": ("e.csv", TEXT.replace("\n", "\r\n").encode(), None, None),
    "quotes": ("e.csv", '"id","load","ambient_temp"\n"München","0.5","21"\n"b","0.25","20.5"\n'.encode(), None, None),
    "a line break in a quoted name": ("e.csv", TEXT.replace("ambient_temp", '"Ambient\r\nTemp"').encode(), None, None),
    "spaces after commas": ("e.csv", TEXT.replace(",", ", ").encode(), None, None),
    "spaces around names": ("e.csv", TEXT.replace("id,load,", " id ,load ,").encode(), None, None),
    "spaces and capitals in names": (
        "e.csv", TEXT.replace("load,ambient_temp", "LOAD,Ambient Temp").encode(), None, None,
    ),
    "spaces around numbers": ("e.csv", TEXT.replace("0.5,21", " 0.5 , 21").encode(), None, None),
    "JSON lines": ("e.jsonl", LINES.encode(), None, None),
    "JSON lines with a mark": ("e.jsonl", LINES.encode("utf-8-sig"), None, None),
    "JSON lines in UTF-16": ("e.jsonl", LINES.encode("utf-16"), None, None),
    "JSON lines in Latin-1": ("e.jsonl", LINES.encode("latin-1"), None, "latin-1"),
}  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_these_are_read_right(tmp_path: Path, case: str) -> None:
    name, content, delimiter, encoding = RIGHT[case]
    assert read(tmp_path / name, content, delimiter, encoding) == READ


# name: file, its bytes, what the error says, what its hint says
REFUSED: dict[str, tuple[str, bytes, str, str]] = {
    "semicolons": (
        "e.csv", apart(";"), "e.csv:1: one column 'id;load;ambient_temp', and none is id, load, ambient_temp",
        "are columns separated by ';'? --delimiter ';'",
    ),
    "tabs": (
        "e.csv", apart("\t"), r"e.csv:1: one column 'id\tload\tambient_temp', and none is id, load, ambient_temp",
        r"are columns separated by '\t'? --delimiter '\t'",
    ),
    "commas in a .tsv file": (
        "e.tsv", TEXT.encode(), "e.tsv:1: one column 'id,load,ambient_temp', and none is id, load, ambient_temp",
        "are columns separated by ','? --delimiter ','",
    ),
    "UTF-16 without a mark": (
        "e.csv", TEXT.encode("utf-16-le"), "e.csv: has bytes of 0, as in UTF-16 text",
        "if it is that: --encoding utf-16-le",
    ),
    "big-endian UTF-16 without a mark": (
        "e.jsonl", LINES.encode("utf-16-be"), "e.jsonl: has bytes of 0, as in UTF-16 text",
        "if it is that: --encoding utf-16-be",
    ),
    "a name in Latin-1": (
        "e.csv", "id,load,ambient_temp,höhe\n".encode("latin-1"),
        r"e.csv:1: not UTF-8: 'id,load,ambient_temp,h\xf6he'", OTHER,
    ),
    "no header": (
        "e.csv", b"a,0.5,21\n", "e.csv:1: no column id, load, ambient_temp; there is 'a', '0.5', '21'",
        "Reading has id, load, ambient_temp, count, note",
    ),
    "an empty file": (
        "e.csv", b"", "e.csv:1: empty, expected a header that names columns",
        "Reading has id, load, ambient_temp, count, note",
    ),
    "two names of one field": (
        "e.csv", b"id,Load,LOAD,ambient_temp\n", "e.csv:1: columns 'Load' and 'LOAD' are both load",
        "rename one of them in the header",
    ),
    "an Excel workbook": (
        "e.csv", b"PK\x03\x04...", "e.csv: an Excel workbook or another zip archive, not text",
        "save the sheet as CSV, or unpack the archive",
    ),
    "gzip": ("e.jsonl", b"\x1f\x8b\x08", "e.jsonl: compressed by gzip, not text", "unpack it first: gunzip -k {path}"),
    "an array": (
        "e.json", b'[{"id":"a"}]', "e.json:1: a JSON array, expected one object a line", "jq -c '.[]' {path} > {path}l",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_these_are_refused_with_a_hint(tmp_path: Path, case: str) -> None:
    name, content, says, hint = REFUSED[case]
    path = tmp_path / name
    with pytest.raises(ConfigError) as error:
        read(path, content)
    assert error.value.message == f"{tmp_path}/{says}"
    assert error.value.hint == hint.replace("{path}", str(path))


def test_a_name_that_is_the_same_is_taken_before_one_that_is_alike(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", b"id,Load,load,ambient_temp\na,1,2,3\n") == [Reading("a", 2.0, 3.0)]


def test_rows_in_another_encoding_are_bad_one_by_one_and_say_what_to_do(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", TEXT.encode("latin-1")) == [
        f"e.csv:2: id: not UTF-8: 'M\\xfcnchen'; {OTHER}",
        READ[1],
    ]
    assert read(tmp_path / "e.jsonl", LINES.encode("latin-1")) == [
        f"e.jsonl:1: not UTF-8: '{{\"id\":\"M\\xfcnchen\",\"l'; {OTHER}", READ[1],
    ]  # fmt: skip


def test_a_byte_that_the_named_encoding_does_not_have_spoils_one_row(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", b"id,load,ambient_temp\na\x81,1,1\nb,1,2\n", encoding="cp1252") == [
        f"e.csv:2: id: not CP1252: 'a\\x81'; {OTHER}", Reading("b", 1.0, 2.0),
    ]  # fmt: skip
    assert read(tmp_path / "f.csv", "id,load,ambient_temp\na,1,1\n".encode("utf-16") + b"b") == [
        Reading("a", 1.0, 1.0), "f.csv:3: 1 cell, the header names 3",
    ]  # fmt: skip


def test_decimal_commas_are_told(tmp_path: Path) -> None:
    assert read(tmp_path / "e.csv", b"id;load;ambient_temp\na;0,5;21\n", ";") == [
        "e.csv:2: load: Expected `float`, got '0,5': is that a decimal comma? Numbers have a point"
    ]


def test_an_open_quote_is_told_where_it_begins(tmp_path: Path) -> None:
    rows = read(tmp_path / "e.csv", b'id,load,ambient_temp\na,1,1\nb,"1,1\nc,1,1\n')
    assert rows == [Reading("a", 1.0, 1.0), "e.csv:3: a quote is opened and never closed"]


@pytest.mark.parametrize(
    ("delimiter", "encoding", "says"),
    [
        ("ab", None, "--delimiter 'ab': expected one character"),
        ("", None, "--delimiter '': expected one character"),
        ('"', None, "expected one character"),
        (None, "klingon", "--encoding klingon: no such encoding"),
        (None, "base64", "--encoding base64: no such encoding"),
    ],
)
def test_a_format_that_cannot_be_is_refused(delimiter: str | None, encoding: str | None, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        FileFormat.of(delimiter, encoding)


def test_a_delimiter_without_a_csv_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--delimiter is for CSV files"):
        read(tmp_path / "e.jsonl", b"", ";")
