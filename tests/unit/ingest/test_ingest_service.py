"""Ingest's core and its REST edge over a log in memory."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.bodies import BadBodyError, split
from services.ingest.rest import create_app
from services.ingest.service import (
    Ingest,
    KeyedRecord,
    OverloadedError,
    Rejected,
    StreamSchema,
    UnacknowledgedError,
    UnknownPipelineError,
)


class Event(msgspec.Struct):
    id: str
    x: float
    n: int = 0
    series: list[float] = []


class MemoryLog:
    """A log whose acknowledgements can be held back or refused."""

    def __init__(self) -> None:
        self.records: list[tuple[str, KeyedRecord, str | None]] = []
        self.refused: dict[int, str] = {}
        self.open = asyncio.Event()
        self.open.set()

    async def append(self, topic: str, records: Sequence[KeyedRecord], traceparent: str | None) -> Mapping[int, str]:
        await self.open.wait()
        self.records += [(topic, r, traceparent) for i, r in enumerate(records) if i not in self.refused]
        return self.refused


def ingest(log: MemoryLog, max_in_flight: int = 100) -> Ingest:
    schema = StreamSchema("toy.events", msgspec.json.Decoder(Event), "id")
    return Ingest({("toy", "events"): schema}, log, max_in_flight=max_in_flight, max_record_bytes=100)


def client(log: MemoryLog) -> httpx.AsyncClient:
    app = create_app(ingest(log), max_request_bytes=1000)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest")


GOOD, BAD, LONG = b'{"id":"a","x":1}', b'{"id":"a"}', b'{"id":"a","x":1,"more":"' + b"x" * 100 + b'"}'


async def test_good_records_are_appended_under_their_key_and_bad_ones_rejected_by_position() -> None:
    log = MemoryLog()
    outcome = await ingest(log).produce("toy", "events", [GOOD, BAD, LONG, GOOD], traceparent="00-1")
    assert outcome.accepted == 2
    assert outcome.rejected[0] == Rejected(1, "Object missing required field `x`")
    assert outcome.rejected[1].reason.startswith(f"{len(LONG)} bytes")
    assert log.records == [("toy.events", KeyedRecord(b"a", GOOD), "00-1")] * 2


async def test_records_that_were_not_acknowledged_are_named_by_their_position_in_the_request() -> None:
    log = MemoryLog()
    log.refused = {1: "timed out"}
    with pytest.raises(
        UnacknowledgedError, match=r"1 of 2 records for toy\.events were not acknowledged: timed out"
    ) as error:
        await ingest(log).produce("toy", "events", [GOOD, BAD, GOOD])
    assert (list(error.value.indexes), error.value.acknowledged) == ([2], 1)


async def test_what_is_in_flight_is_bounded_but_a_single_request_is_never_refused_for_its_size() -> None:
    log = MemoryLog()
    service = ingest(log, max_in_flight=3)
    log.open.clear()
    first = asyncio.create_task(service.produce("toy", "events", [GOOD] * 5))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await service.produce("toy", "events", [GOOD])
    log.open.set()
    assert (await first).accepted == 5
    assert service.in_flight == 0
    assert (await service.produce("toy", "events", [GOOD])).accepted == 1


async def test_an_unknown_pipeline_is_said_with_those_that_are_known() -> None:
    with pytest.raises(UnknownPipelineError, match="served: toy"):
        await ingest(MemoryLog()).produce("rides", "events", [GOOD])


@pytest.mark.parametrize(
    ("refused", "body", "status", "said"),
    [
        ({}, GOOD, 200, {"accepted": 1, "rejected": []}),
        ({}, BAD, 400, {"error": "no record fits the schema: Object missing required field `x`"}),
        ({}, b"x" * 2000, 413, {}),
        ({0: "timed out"}, GOOD, 503, {"unacknowledged": [0], "accepted": 0}),
    ],
)
async def test_rest_answers_with_the_status_that_says_what_to_do(
    refused: dict[int, str], body: bytes, status: int, said: dict[str, object]
) -> None:
    log = MemoryLog()
    log.refused = refused
    async with client(log) as rest:
        answer = await rest.post("/v1/pipelines/toy/events", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.json().items() >= said.items()
    assert status < 400 or "error" in answer.json()


BAD_NUMBERS = {
    b'{"id":"a","x":NaN}': "x: NaN, expected a finite number",
    b'{"id":"a","x":-Infinity}': "x: -Infinity, expected a finite number",
    b'{"id":"a","x":1e999}': "x: 1e999, expected a finite number",
    b'{"id":"a","x":1,"series":[1,NaN]}': "series[1]: NaN, expected a finite number",
    b'{"id":"a","x":1,"n":9223372036854775808}': "n: 9223372036854775808 is beyond 64 bits",
    b'{"id":"a","x":"1e999"}': "x: Expected `float`, got `str`",
    b'{"id":"\xff","x":1}': "not UTF-8",
}


async def test_numbers_that_a_record_may_not_hold_are_rejected_by_record_and_field() -> None:
    log = MemoryLog()
    outcome = await ingest(log).produce("toy", "events", [GOOD, *BAD_NUMBERS, GOOD], edge="grpc")
    assert outcome.rejected == [Rejected(i, reason) for i, reason in enumerate(BAD_NUMBERS.values(), 1)]
    assert outcome.accepted == len(log.records) == 2


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (
            b'[{"id":"a","x":1},{"id":"b","x":NaN}]',
            "application/json",
            "not JSON: record 1: x: NaN, expected a finite number",
        ),
        (b'{"id":"b","x":Infinity}', "application/json", "not JSON: x: Infinity, expected a finite number"),
        (
            b'{"id":"b","x":NaN}\n',
            "application/x-ndjson",
            "no record fits the schema: x: NaN, expected a finite number",
        ),
        (b"[" * 200, "application/json", "not JSON: Input data was truncated"),
    ],
)
async def test_rest_names_the_record_and_the_field_of_a_number_that_json_does_not_have(
    body: bytes, kind: str, said: str
) -> None:
    log = MemoryLog()
    async with client(log) as rest:
        answer = await rest.post("/v1/pipelines/toy/events", content=body, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["error"], log.records) == (400, said, [])


NUMBERS = st.floats() | st.integers() | st.integers(2**62, 2**65)


@given(st.lists(st.fixed_dictionaries({"id": st.text(max_size=3), "x": NUMBERS}, optional={
    "n": NUMBERS, "series": st.lists(NUMBERS, max_size=2),
}), max_size=4))  # fmt: skip
def test_what_is_accepted_is_what_readers_see(sent: list[dict[str, Any]]) -> None:
    log = MemoryLog()
    records = [json.dumps(one).encode() for one in sent]
    asyncio.run(ingest(log).produce("toy", "events", records))
    rejected = {r.index for r in asyncio.run(ingest(MemoryLog()).produce("toy", "events", records)).rejected}
    kept = [one for i, one in enumerate(sent) if i not in rejected]
    seen = [msgspec.json.decode(record.value, type=Event) for _, record, _ in log.records]
    assert [(e.id, e.x, e.n, e.series) for e in seen] == [
        (one["id"], float(one["x"]), one.get("n", 0), [float(v) for v in one.get("series", [])]) for one in kept
    ]
    assert all(-(2**63) <= event.n < 2**63 for event in seen)


RECORDS = st.lists(
    st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text(max_size=5), st.none()), max_size=3),
    min_size=1,
    max_size=5,
)


@given(RECORDS)
def test_every_form_of_a_body_holds_the_same_records(records: list[dict[str, object]]) -> None:
    encoded = [msgspec.json.encode(record) for record in records]
    assert split(b"[" + b" ,\n".join(encoded) + b"]", "application/json; charset=utf-8") == encoded
    assert split(b"\r\n".join(encoded) + b"\n\n", "application/x-ndjson") == encoded
    assert split(b" " + encoded[0] + b"\n", "") == encoded[:1]


@given(st.binary(max_size=30), st.sampled_from(["application/json", "application/x-ndjson", "text/plain"]))
def test_any_other_body_is_refused_and_nothing_else_happens(body: bytes, kind: str) -> None:
    with suppress(BadBodyError):
        assert split(body, kind)
