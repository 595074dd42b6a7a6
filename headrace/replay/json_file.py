"""Records from a file of JSON lines: one object a line; empty lines are passed over."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from headrace.model.json_errors import DECODE_ERRORS, json_problem
from headrace.model.source import BadRow
from headrace.model.values import BadValue, number_check
from headrace.replay.text import MARK_BYTES, OTHER_ENCODING, FileFormat, encoding_of, not_of, opened
from headrace.runtime.errors import ConfigError

_UTF_8 = ("utf-8", "utf-8-sig")


def json_rows(path: Path, struct: type[Any], form: FileFormat) -> Iterator[tuple[int, Any]]:
    """(line, struct or BadRow) of each record.

    Raises:
        ConfigError: the file cannot be opened, or is not one object a line.
    """
    encoding = encoding_of(path, form.encoding)
    check_start(path, encoding, struct)
    return _rows(path, struct, encoding)


def check_start(path: Path, encoding: str, struct: type[Any] | None = None) -> None:
    """Raise `ConfigError` if the file is one JSON array, and not one object a line."""
    with opened(path, encoding, newline="\n") as file:
        start = next((line.strip() for line in file if line.strip()), "")
    if start.startswith("[") and (struct is None or not struct.__struct_config__.array_like):
        raise ConfigError(
            f"{path}:1: a JSON array, expected one object a line",
            hint=f"jq -c '.[]' {path} > {path.with_suffix('.jsonl')}",
        )


def _rows(path: Path, struct: type[Any], encoding: str) -> Iterator[tuple[int, Any]]:
    decode, check = msgspec.json.Decoder(struct).decode, number_check(struct, from_json=True)
    for line, data in enumerate(lines_of(path, encoding), 1):
        try:
            value = decode(data)
            bad = check(value)
        except DECODE_ERRORS as error:
            if not data.strip():
                continue
            bad = refused(data, error, encoding)
        yield line, value if bad is None else BadRow.at_line(path, line, *bad)


def refused(data: bytes | str, error: Exception, encoding: str) -> BadValue:
    """What is wrong with a line that decoding refused with `error`, one of `DECODE_ERRORS`."""
    if not isinstance(error, UnicodeError):
        return json_problem(data.encode() if isinstance(data, str) else data, error)
    text = data if isinstance(data, str) else data.decode(errors=MARK_BYTES)
    return BadValue("", f"{not_of(encoding, _around_first_bad(text))}; {OTHER_ENCODING}")


def lines_of(path: Path, encoding: str) -> Iterator[bytes | str]:
    """The lines as UTF-8; as text where they hold bytes that are not of the encoding, which decoding then refuses."""
    if encoding in _UTF_8:
        with path.open("rb") as file:
            for number, line in enumerate(file):
                yield line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
        return
    with opened(path, encoding, newline="\n") as file:
        for text in file:
            try:
                yield text.encode()
            except UnicodeEncodeError:
                yield text


def _around_first_bad(text: str) -> str:
    at = next((i for i, c in enumerate(text) if 0xDC00 <= ord(c) < 0xDD00), 0)
    return text[max(0, at - 20) : at + 10]
