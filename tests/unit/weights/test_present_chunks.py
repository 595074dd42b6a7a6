"""Which chunks are in place, while several threads say so."""

from concurrent.futures import ThreadPoolExecutor

from headrace.weights.host.present_chunks import PresentChunks


def test_it_says_what_is_missing_of_a_payload_whatever_was_there_before() -> None:
    present = PresentChunks(["a", "b", "c"])
    assert present.missing(["a", "x", "c", "d"]) == [1, 3]
    present.resize(4)
    assert (len(present), present.snapshot()) == (4, ["a", "b", "c", ""])
    present.mark(3, "d")
    present.forget(0)
    assert present.has(3, "d")
    assert not present.has(0, "a")
    assert not present.has(9, "a")
    present.resize(2)
    assert present.snapshot() == ["", "b"]
    assert present.holds(["", "b"])


def test_a_snapshot_does_not_change() -> None:
    present = PresentChunks(["a"])
    before = present.snapshot()
    present.mark(0, "b")
    assert before == ["a"]


def test_threads_that_mark_and_forget_their_own_chunks_lose_nothing() -> None:
    present = PresentChunks([""] * 64)

    def fill(first: int) -> None:
        for _ in range(200):
            for index in range(first, 64, 8):
                present.forget(index)
                present.mark(index, f"{index}")
            present.resize(64)
            assert all(digest in {"", f"{i}"} for i, digest in enumerate(present.snapshot()))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(fill, range(8)))
    assert present.holds([f"{index}" for index in range(64)])
