"""Files that are uploaded in parts: how far each is, and its digest once it is whole. What was taken is durable."""

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from headrace.batch.job import kind_of
from headrace.datasets.reading.workbook_zip import BOOKS
from headrace.datasets.storing.digest import sha256_of
from headrace.jobs.errors import BadRequestError, BusyError, ConflictError, JobError, TooLargeError, UnknownError
from headrace.runtime.errors import ConfigError
from headrace.runtime.files import sync_folder, synced
from services.datasets.metrics import UPLOADED

_META, _DATA = "upload.json", "data"
_DIGITS = 64


class WrongDigestError(JobError):
    """The bytes are not those of the digest that was announced."""

    status = 422


class OffsetError(ConflictError):
    """A part is not for where the upload is."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"the upload is at {offset}")
        self.offset = offset


class Upload(msgspec.Struct, kw_only=True):
    """An upload: the file's name and bytes as announced, its SHA-256 or ""."""

    id: str
    filename: str
    size: int
    sha256: str = ""
    verified: bool = False


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a caller announces."""

    filename: str
    size: int
    sha256: str = ""


class Uploads:
    """All uploads of a folder, in one event loop."""

    def __init__(self, root: Path, *, most_bytes: int, most: int) -> None:
        self._root, self._most_bytes, self._most = root, most_bytes, most
        self._locks: dict[str, asyncio.Lock] = {}
        root.mkdir(parents=True, exist_ok=True)

    def begin(self, body: bytes) -> Upload:
        """Begin an upload; durable when this returns.

        Raises:
            BadRequestError: the file is of no known kind.
            TooLargeError: it is too large.
            BusyError: there are too many.
        """
        try:
            asked = msgspec.json.decode(body, type=Asked)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadRequestError(str(error)) from None
        name = Path(asked.filename).name
        check_kind(name)
        if asked.size < 1 or (asked.sha256 and len(asked.sha256) != _DIGITS):
            raise BadRequestError("size: expected 1 or more; sha256: 64 hexadecimal digits, or none")
        if asked.size > self._most_bytes:
            raise TooLargeError(f"the file has {asked.size} bytes; {self._most_bytes} are allowed")
        if sum(1 for _ in self._root.iterdir()) >= self._most:
            raise BusyError("too many unfinished uploads: try again later")
        upload = Upload(id=uuid.uuid4().hex, filename=name, size=asked.size, sha256=asked.sha256.lower())
        folder = self._root / upload.id
        folder.mkdir()
        (folder / _DATA).touch()
        self._save(upload)
        sync_folder(self._root)
        return upload

    def get(self, upload_id: str) -> tuple[Upload, int]:
        """An upload, and how many of its bytes are there.

        Raises:
            UnknownError: there is none.
        """
        folder = self._folder(upload_id)
        try:
            upload = msgspec.json.decode((folder / _META).read_bytes(), type=Upload)
            return upload, (folder / _DATA).stat().st_size
        except (OSError, msgspec.DecodeError):
            raise UnknownError("there is no such upload") from None

    async def add(self, upload_id: str, offset: int, parts: AsyncIterator[bytes]) -> int:
        """Take a part that begins at `offset`; returns how many bytes are there now, durable.

        What came of a part that was broken off stays. The last part has the digest checked.

        Raises:
            OffsetError: the upload is elsewhere.
            TooLargeError: more bytes than were announced.
            WrongDigestError: the whole is not what was announced; it begins anew.
        """
        upload, _ = self.get(upload_id)
        lock = self._locks.setdefault(upload_id, asyncio.Lock())
        if lock.locked():
            raise ConflictError("another request sends a part")
        async with lock:
            at = self.get(upload_id)[1]
            if offset != at:
                raise OffsetError(at)
            path = self._folder(upload_id) / _DATA
            with path.open("ab") as file:
                try:
                    async for part in parts:
                        if at + len(part) > upload.size:
                            raise TooLargeError(f"more than the {upload.size} bytes that were announced")
                        file.write(part)
                        at += len(part)
                        UPLOADED.inc(len(part))
                finally:
                    file.flush()
                    await asyncio.to_thread(os.fsync, file.fileno())
            if at == upload.size and not upload.verified:
                await self._verify(upload, path)
            return at

    async def _verify(self, upload: Upload, path: Path) -> None:
        digest = await asyncio.to_thread(sha256_of, path)
        if upload.sha256 and digest != upload.sha256:
            os.truncate(path, 0)
            raise WrongDigestError(
                f"the bytes have the SHA-256 {digest}, {upload.sha256} was announced: send them again"
            )
        upload.sha256, upload.verified = digest, True
        self._save(upload)

    def take(self, upload_id: str, folder: Path) -> tuple[Path, Upload]:
        """Give a whole upload's file to an import, whose folder this is; the upload stays until `remove`.

        Raises:
            UnknownError: there is none.
            ConflictError: it is not whole.
        """
        upload, at = self.get(upload_id)
        if at != upload.size or not upload.verified:
            raise ConflictError(f"{at} of {upload.size} bytes are there")
        target = folder / f"upload{_suffixes(upload.filename)}"
        target.hardlink_to(self._folder(upload_id) / _DATA)
        sync_folder(folder)
        return target, upload

    def remove(self, upload_id: str) -> None:
        """Remove an upload.

        Raises:
            UnknownError: there is none.
        """
        self.get(upload_id)
        shutil.rmtree(self._folder(upload_id))
        self._locks.pop(upload_id, None)

    def sweep(self, older_than_s: float) -> None:
        """Remove uploads that nobody went on with for so long."""
        for folder in list(self._root.iterdir()):
            data = folder / _DATA
            if not data.exists() or time.time() - data.stat().st_mtime > older_than_s:
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, upload_id: str) -> Path:
        if not (upload_id.isascii() and upload_id.isalnum()):
            raise UnknownError("there is no such upload")
        return self._root / upload_id

    def _save(self, upload: Upload) -> None:
        with synced(self._folder(upload.id) / _META) as file:
            file.write(msgspec.json.encode(upload))


def check_kind(name: str) -> None:
    """Raise `BadRequestError` if a file of that name is of no kind that can be imported."""
    try:
        if not name.lower().endswith(BOOKS):
            kind_of(Path(name))
    except ConfigError as error:
        raise BadRequestError(f"{error}, {', '.join(BOOKS)}") from None


def _suffixes(name: str) -> str:
    """`.csv.gz` of `rides.2026.csv.gz`: the last two where the second says how it is compressed."""
    suffixes = Path(name).suffixes
    return (
        "".join(suffixes[-2:])
        if suffixes and suffixes[-1].lower() in (".gz", ".bz2", ".xz", ".zst", ".lz4")
        else (suffixes[-1] if suffixes else "")
    )
