"""Which cells are measured, of whom, and how often."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.serving.cell import Load
from benchmarks.serving.contestants import (
    FASTAPI,
    FASTAPI_MANY,
    GRPC_ECHO,
    LOAD_GRPC,
    LOAD_HTTP,
    MLSERVER_,
    OURS,
    TRITON,
    TRITON_ONE,
    UVICORN_ECHO,
    Contestant,
)
from benchmarks.serving.load.plan import Form

IN_FLIGHT, BATCHES = (1, 16, 64), (1, 32)
HTTP_JSON = (OURS, TRITON, TRITON_ONE, MLSERVER_, FASTAPI, FASTAPI_MANY, UVICORN_ECHO, LOAD_HTTP)
GRPC = (OURS, TRITON, TRITON_ONE, MLSERVER_, GRPC_ECHO, LOAD_GRPC)
BINARY = (OURS, TRITON, TRITON_ONE)
WHO = {"grpc": GRPC, "json": HTTP_JSON, "binary": BINARY, "tritonclient": BINARY}


@dataclass(frozen=True)
class Row:
    """One kind of load and those who bear it, one after the other, `rounds` times."""

    form: Form
    in_flight: int
    batch: int
    who: Sequence[Contestant]
    rounds: int = 1

    def loads(self, seconds: float) -> Iterator[tuple[Contestant, Load]]:
        """One round."""
        for one in self.who:
            form: Form = "plain" if one.forms == ("plain",) else self.form
            yield one, Load(form, self.in_flight, self.batch, seconds=seconds)


def short(only: Sequence[Contestant]) -> list[Row]:
    """What the ratios need, three times, and some of the rest once."""
    rows = [
        Row("grpc", 16, 1, GRPC, 3),
        Row("grpc", 64, 1, (OURS, TRITON, TRITON_ONE), 3),
        Row("json", 16, 1, HTTP_JSON, 3),
        Row("grpc", 1, 1, (OURS, TRITON, TRITON_ONE)),
        Row("json", 1, 1, (OURS, TRITON)),
        Row("json", 64, 1, (OURS, TRITON, FASTAPI)),
        Row("binary", 16, 1, (OURS, TRITON), 3),
        Row("tritonclient", 16, 1, (OURS, TRITON), 3),
        *(Row(form, 16, 32, (OURS, TRITON, TRITON_ONE)) for form in ("grpc", "json", "binary")),
    ]
    return [_of(row, only) for row in rows]


def full(only: Sequence[Contestant]) -> list[Row]:
    """Every transport, number in flight and batch, three times."""
    cells = itertools.product(WHO, IN_FLIGHT, BATCHES)
    return [_of(Row(form, n, batch, WHO[form], 3), only) for form, n, batch in cells]  # type: ignore[arg-type]


def _of(row: Row, only: Sequence[Contestant]) -> Row:
    return Row(row.form, row.in_flight, row.batch, [one for one in row.who if one in only], row.rounds)
