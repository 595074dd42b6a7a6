"""Which files a job reads: names, folders and patterns, all of one kind; compressed text is unpacked once."""

import glob
import lzma
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from headrace.batch.job import InputFile, Kind, kind_of
from headrace.runtime.errors import ConfigError
from headrace.runtime.files import sync_folder, synced


def find_files(inputs: Sequence[str], but: Collection[Path] = ()) -> tuple[Kind, list[Path]]:
    """The files in a fixed order: as given, those of a folder, subfolders included, or of a pattern by name.

    Those in `but`, resolved, are passed over: what the job itself writes.

    Raises:
        ConfigError: there is none, one is unknown, or they are of several kinds.
    """
    found: dict[Path, Kind] = {}
    for given in inputs:
        for path in expanded(given):
            if (resolved := path.resolve()) not in but:
                found.setdefault(resolved, kind_of(path)[0])
    kinds = sorted(set(found.values()))
    if not found:
        raise ConfigError("no input file", hint="--input FILE, FOLDER or 'PATTERN'; repeatable")
    if len(kinds) > 1:
        raise ConfigError(f"the input has files of several kinds: {', '.join(kinds)}", hint="one job for each kind")
    return kinds[0], list(found)


def expanded(given: str) -> list[Path]:
    """The files that a name, a folder or a pattern means.

    Raises:
        ConfigError: there is none.
    """
    path = Path(given)
    if path.is_dir():
        paths = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
    elif path.exists():
        return [path]
    else:
        paths = sorted(p for p in map(Path, glob.glob(given, recursive=True)) if p.is_file())  # noqa: PTH207
    if not paths:
        raise ConfigError(f"--input {given}: no such file")
    return paths


def _hidden(path: Path) -> bool:
    return any(part.startswith((".", "_")) for part in path.parts)


def stat(path: Path) -> InputFile:
    """A file as it is now.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        now = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    return InputFile(str(path), str(path), now.st_size, now.st_mtime_ns)


def unpacked(file: InputFile, into: Path) -> InputFile:
    """The file with its bytes uncompressed: in the folder `into` where it is compressed, else where it is.

    Raises:
        ConfigError: it is damaged, or not compressed as its name says.
    """
    packed = kind_of(Path(file.path))[1]
    if not packed:
        return file
    target = into / Path(file.path).name.removesuffix(packed)
    into.mkdir(parents=True, exist_ok=True)
    sync_folder(into.parent)
    try:
        with _stream(file.path, packed) as source, synced(target) as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (OSError, EOFError, lzma.LZMAError, pa.ArrowException) as error:
        raise ConfigError(f"{file.path}: cannot be unpacked: {error}") from error
    return InputFile(file.path, str(target), file.size, file.mtime_ns)


def _stream(path: str, packed: str) -> IO[bytes]:
    if packed == ".xz":
        return cast("IO[bytes]", lzma.open(path))
    opened: Any = pa.input_stream(path, compression={".gz": "gzip", ".zst": "zstd"}.get(packed, packed[1:]))
    return cast("IO[bytes]", opened)
