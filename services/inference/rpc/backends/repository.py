"""A model repository: a folder a model, in it config.pbtxt and a folder a version, in it the model's file.

Reading it takes as long as loading takes: it belongs in a thread.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.inference.rpc.backends.config import FILE, ConfigInvalid, ModelSettings, read_config
from services.inference.rpc.backends.exported import ExportedBackend
from services.inference.rpc.backends.onnx import OnnxBackend
from services.inference.rpc.backends.port import Backend, BackendError, Signature
from services.inference.rpc.backends.remote import RemoteBackend
from services.inference.rpc.backends.torchscript import TorchScriptBackend

_FILES: dict[str, tuple[str, Callable[[Path, Signature], Backend]]] = {
    "model.pt": ("pytorch", TorchScriptBackend),
    "model.pt2": ("pytorch", ExportedBackend),
    "model.onnx": ("onnxruntime", OnnxBackend),
}
"""The file's name by its usual one: which backend it has, and what loads it."""


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version that can be served. `digest` is of its files and its model's configuration."""

    number: int
    digest: str
    backend: Backend


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model as it was read: its versions, and why others that are wanted cannot be served."""

    settings: ModelSettings
    versions: Mapping[int, LoadedVersion]
    broken: Mapping[int, str]


class Repository:
    """The folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self) -> list[str]:
        """The models that are there; a folder without a configuration and without versions is none."""
        try:
            folders = sorted(path for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))
        except OSError:
            return []
        return [path.name for path in folders if (path / FILE).exists() or _versions(path)]

    def mark(self, name: str) -> str:
        """Changes whenever a file of the model does: by names, sizes and times."""
        digest = hashlib.sha256()
        for path in _files(self.root / name):
            stat = path.stat()
            digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
        return digest.hexdigest()

    def load(self, name: str, known: Mapping[int, LoadedVersion]) -> LoadedModel:
        """Read a model. Of versions that are `known` and have not changed nothing is loaded again.

        Raises:
            ConfigInvalid: there is no such model, or its configuration cannot be served.
        """
        folder = self.root / name
        if name not in self.names():
            raise ConfigInvalid(f"{folder}: there is no such model")
        settings = read_config(folder)
        present = _versions(folder)
        if settings.backend == "remote" and not present:
            present = [1]  # it has no file that a folder would hold
        versions: dict[int, LoadedVersion] = {}
        broken: dict[int, str] = {}
        wanted = settings.wanted(present)
        if not wanted:
            raise ConfigInvalid(f"{folder}: there is no folder of a version, such as {folder / '1'}")
        for number in wanted:
            try:
                versions[number] = _load(folder, number, settings, known.get(number))
            except BackendError as error:
                broken[number] = f"{folder / str(number)}: {error}"
            except OSError as error:
                broken[number] = f"{folder / str(number)}: cannot be read: {error}"
        return LoadedModel(settings, versions, broken)


def _load(folder: Path, number: int, settings: ModelSettings, known: LoadedVersion | None) -> LoadedVersion:
    digest = _digest(folder, number)
    if known is not None and known.digest == digest:
        return known
    return LoadedVersion(number, digest, _backend(folder / str(number), settings))


def _backend(folder: Path, settings: ModelSettings) -> Backend:
    signature: Signature = settings.signature
    if settings.backend == "remote":
        return RemoteBackend(signature)
    path, (kind, made) = _file(folder, settings)
    if settings.backend not in ("", kind):
        raise BackendError(f"{path.name} is for the backend '{kind}', and the configuration says '{settings.backend}'")
    return made(path, signature)


def _file(folder: Path, settings: ModelSettings) -> tuple[Path, tuple[str, Callable[[Path, Signature], Backend]]]:
    if not folder.is_dir():
        raise BackendError("there is no folder of this version")
    named = settings.message.default_model_filename
    if named:
        usual = f"model{Path(named).suffix}"
        if usual not in _FILES:
            raise BackendError(f"default_model_filename '{named}' ends in none of .pt, .pt2, .onnx")
        if not (folder / named).exists():
            raise BackendError(f"there is no {named}")
        return folder / named, _FILES[usual]
    found = [name for name, (kind, _) in _FILES.items() if settings.backend in ("", kind) and (folder / name).exists()]
    if len(found) != 1:
        wanted = [name for name, (kind, _) in _FILES.items() if settings.backend in ("", kind)]
        raise BackendError(
            f"there is {' and '.join(found) or 'no'}{' file' if not found else ''} of {', '.join(wanted)}"
        )
    return folder / found[0], _FILES[found[0]]


def _versions(folder: Path) -> list[int]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return sorted(int(name) for name in names if name.isascii() and name.isdigit() and not name.startswith("0"))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _digest(folder: Path, number: int) -> str:
    digest = hashlib.sha256()
    for path in [folder / FILE, *_files(folder / str(number))]:
        digest.update(f"{path.relative_to(folder)}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
