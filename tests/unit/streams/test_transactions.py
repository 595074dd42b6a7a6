"""The transactional sink beside its transactions, which tests/integration/streams tries on a broker."""

import threading

from headrace.runtime.errors import DependencyError, HeadraceError
from headrace.streams.transactions import TransactionalSink
from tests.patience import WAIT_S


class StrandedProducer:
    """Says of itself, when it is polled, that it has no broker left."""

    def __init__(self) -> None:
        self.closed = False

    def poll(self, timeout: float) -> int:
        raise DependencyError("no broker is left")

    def close(self) -> None:
        self.closed = True


def test_a_producer_that_has_lost_its_brokers_is_told_while_nobody_calls_it() -> None:
    told: list[HeadraceError] = []
    heard = threading.Event()

    def lost(error: HeadraceError) -> None:
        told.append(error)
        heard.set()

    producer = StrandedProducer()
    sink = TransactionalSink(lambda: producer, lost=lost)  # type: ignore[arg-type,return-value]
    sink.open()
    assert heard.wait(WAIT_S)
    sink.close()
    assert [error.message for error in told] == ["no broker is left"]
    assert producer.closed
