"""Uploads in parts: each goes on where it is, and the whole is what was announced."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace.jobs.errors import BadRequestError, BusyError, ConflictError, TooLargeError, UnknownError
from services.datasets.uploads import OffsetError, Uploads, WrongDigestError

DATA = bytes(range(256)) * 40


async def parts(*pieces: bytes, fail: bool = False) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if fail:
        raise ConnectionResetError


def begin(uploads: Uploads, name: str = "a.csv", sha256: str = "", size: int = len(DATA)) -> str:
    return uploads.begin(f'{{"filename": "{name}", "size": {size}, "sha256": "{sha256}"}}'.encode()).id


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(tmp_path / "uploads", most_bytes=20_000, most=3)


async def test_a_part_that_was_broken_off_is_kept_and_gone_on_with_by_another_process(
    tmp_path: Path, uploads: Uploads
) -> None:
    one = begin(uploads, sha256=hashlib.sha256(DATA).hexdigest())
    assert await uploads.add(one, 0, parts(DATA[:1000])) == 1000
    with pytest.raises(ConnectionResetError):
        await uploads.add(one, 1000, parts(DATA[1000:1500], fail=True))
    later = Uploads(tmp_path / "uploads", most_bytes=20_000, most=3)
    with pytest.raises(OffsetError) as error:
        await later.add(one, 1000, parts(DATA[1000:]))
    assert error.value.offset == 1500
    (tmp_path / "job").mkdir()
    with pytest.raises(ConflictError, match="1500 of 10240 bytes"):
        later.take(one, tmp_path / "job")
    assert await later.add(one, 1500, parts(DATA[1500:])) == len(DATA)
    path, upload = later.take(one, tmp_path / "job")
    assert (path.read_bytes(), path.name, upload.filename) == (DATA, "upload.csv", "a.csv")
    later.remove(one)
    assert path.read_bytes() == DATA
    with pytest.raises(UnknownError):
        later.get(one)


async def test_the_whole_must_have_the_digest_that_was_announced(uploads: Uploads) -> None:
    one = begin(uploads, sha256="0" * 64)
    with pytest.raises(WrongDigestError, match="send them again"):
        await uploads.add(one, 0, parts(DATA))
    assert uploads.get(one)[1] == 0


async def test_more_than_was_announced_or_allowed_is_refused(uploads: Uploads) -> None:
    with pytest.raises(TooLargeError):
        begin(uploads, size=20_001)
    one = begin(uploads, size=10)
    with pytest.raises(TooLargeError):
        await uploads.add(one, 0, parts(b"x" * 11))
    assert uploads.get(one)[1] == 0
    begin(uploads)
    begin(uploads)
    with pytest.raises(BusyError):
        begin(uploads)


@pytest.mark.parametrize("name", ["a.exe", "a", "../../etc/passwd", "a.csv.exe"])
def test_a_file_of_no_known_kind_is_refused(uploads: Uploads, name: str) -> None:
    with pytest.raises(BadRequestError):
        begin(uploads, name)


@pytest.mark.parametrize("upload", ["..", "../x", "a/b", "", "0" * 32])
def test_an_id_never_leads_out_of_the_folder(uploads: Uploads, upload: str) -> None:
    with pytest.raises(UnknownError):
        uploads.get(upload)


async def test_two_requests_cannot_send_a_part_at_once(uploads: Uploads) -> None:
    one, begun, first = begin(uploads), asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield DATA[:10]
        begun.set()
        await first.wait()

    running = asyncio.create_task(uploads.add(one, 0, slow()))
    await begun.wait()
    with pytest.raises(ConflictError, match="another request"):
        await uploads.add(one, 10, parts(DATA[10:]))
    first.set()
    assert await running == 10
