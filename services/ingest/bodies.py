"""Request bodies to records: a JSON object, an array, or lines of JSON (NDJSON). Records keep their bytes."""

import msgspec

from headrace.model.json_errors import DECODE_ERRORS, json_problem

NDJSON = "application/x-ndjson"
JSON = "application/json"

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_ONE = msgspec.json.Decoder(msgspec.Raw)


class BadBodyError(ValueError):
    """The body is not what its content type says."""


def split(body: bytes, content_type: str) -> list[bytes]:
    """The records in a body, at least one. Lines of NDJSON are not looked at: each is a record, good or bad.

    Raises:
        BadBodyError: it is empty or not JSON; the text names the record and the field where they are known.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind in (NDJSON, "application/jsonl", "application/x-jsonlines"):
        records = [line for line in (raw.strip() for raw in body.split(b"\n")) if line]
    elif kind in (JSON, ""):
        records = _json(body)
    else:
        raise BadBodyError(f"content type {content_type!r}: send {JSON} or {NDJSON}")
    if not records:
        raise BadBodyError("no records in the body")
    return records


def _json(body: bytes) -> list[bytes]:
    body = body.strip()
    try:
        if body.startswith(b"["):
            return [bytes(raw) for raw in _ARRAY.decode(body)]
        return [bytes(_ONE.decode(body))]
    except DECODE_ERRORS as error:
        raise BadBodyError(f"not JSON: {json_problem(body, error).named_in('record')}") from error
