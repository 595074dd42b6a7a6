"""Text files: their encoding, their separator, and files that are not text at all.

A byte that the encoding does not have is read as a lone surrogate, U+DC00 plus the byte. The reader of the row finds it
by `unreadable` and refuses that row only.
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from headrace.runtime.errors import ConfigError

DELIMITERS = (",", ";", "\t", "|")
_SPELLED = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"), (codecs.BOM_UTF8, "utf-8-sig"),
)  # fmt: skip
_NO_TEXT = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive", "save the sheet as CSV, or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "save the sheet as CSV"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first: gunzip -k FILE"),
    (b"PAR1", "a Parquet file", "write it as CSV or JSON lines"),
)
OTHER_ENCODING = "if the file is in another encoding, name it: --encoding latin-1, cp1252, ..."
_LOOKED_AT = 4096
_UNREADABLE = range(0xDC00, 0xDD00)


@dataclass(frozen=True)
class FileFormat:
    """How files are to be read.

    `delimiter` separates the columns of CSV files; None is what a first line `sep=;` says, else a tab in .tsv files and
    a comma in others. `encoding` of None is what the byte-order mark says, else UTF-8.
    """

    delimiter: str | None = None
    encoding: str | None = None

    @classmethod
    def of(cls, delimiter: str | None, encoding: str | None) -> "FileFormat":
        """A format as the command line takes it: a tab may be written as backslash t or `tab`.

        Raises:
            ConfigError: the delimiter is not one character, or there is no such encoding.
        """
        if delimiter is not None:
            delimiter = _SPELLED.get(delimiter.lower(), delimiter)
            if len(delimiter) != 1 or delimiter in '"\r\n':
                raise ConfigError(f"--delimiter {delimiter!r}: expected one character", hint="e.g. ';', '|' or '\\t'")
        if encoding is not None:
            _check_encoding(encoding)
        return cls(delimiter, encoding)


def _check_encoding(name: str) -> None:
    try:
        b"a".decode(name)
    except UnicodeError:
        return  # a single byte is not enough for every encoding
    except (LookupError, ValueError) as error:  # ValueError: a character of 0 in the name
        raise ConfigError(
            f"--encoding {name}: no such encoding", hint="e.g. utf-8, utf-16, latin-1, cp1252, shift_jis"
        ) from error


def spelled(delimiter: str) -> str:
    """A delimiter as it is typed in a shell."""
    return "'\\t'" if delimiter == "\t" else f"'{delimiter}'"


def encoding_of(path: Path, encoding: str | None) -> str:
    """The encoding by which to open the file, `encoding` being the one that was asked for.

    Raises:
        ConfigError: there is no such file, it is not text, or it looks like UTF-16 and has no byte-order mark.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    for magic, what, hint in _NO_TEXT:
        if start.startswith(magic):
            raise ConfigError(f"{path}: {what}, not text", hint=hint.replace("FILE", str(path)))
    marked = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if encoding is not None:
        return "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    if marked is None and b"\0" in start:
        ends = "le" if start[1::2].count(0) > start[::2].count(0) else "be"
        raise ConfigError(f"{path}: has bytes of 0, as in UTF-16 text", hint=f"if it is that: --encoding utf-16-{ends}")
    return marked or "utf-8"


@contextmanager
def opened(path: Path, encoding: str, newline: str) -> Iterator[io.TextIOWrapper]:
    """The file as text, without its byte-order mark; bytes that the encoding does not have are marked as said above."""
    with path.open(encoding=encoding, errors=MARK_BYTES, newline=newline) as file:
        if file.read(1) != "\ufeff":  # utf-16-le and utf-16-be do not remove it
            file.seek(0)
        yield file


def unreadable(text: str) -> bool:
    """Whether the text has a byte that the file's encoding does not have."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def not_of(encoding: str, text: str) -> str:
    """What to say about a text that is `unreadable`."""
    shown = "".join(f"\\x{ord(c) - 0xDC00:02x}" if ord(c) in _UNREADABLE else c for c in text[:60])
    name = codecs.lookup(encoding).name.removesuffix("-sig").upper()
    return f"not {name}: '{shown}'"


def _mark_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


MARK_BYTES = "headrace.mark_bytes"
"""The error handler that makes surrogates of bytes."""
codecs.register_error(MARK_BYTES, _mark_bytes)
