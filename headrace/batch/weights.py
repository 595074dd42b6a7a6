"""The one version of the weights that a job uses, copied into its work folder, where every process maps it."""

import mmap
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from headrace.batch.job import Job, Version
from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.model.pipeline import Pipeline
from headrace.rollouts.feed import parse
from headrace.rollouts.reading import CHECKPOINTS, TopicReader
from headrace.runtime.errors import ConfigError, DependencyError, WeightsError
from headrace.runtime.files import synced
from headrace.runtime.settings import ServiceSettings
from headrace.weights.format.chunks import digest_of
from headrace.weights.format.manifest import Manifest, check_signature
from headrace.weights.format.payload import dump
from headrace.weights.host.fetching import fetch
from headrace.weights.opening import open_store, signing_keys
from headrace.weights.worker.shadow import check_finite

FROM_FILE = 0
"""The version that weights from a file have: no checkpoint was published of them."""
_QUIET_S = 15.0


def file_digest(path: Path) -> str:
    """The digest of a file's bytes.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
            memoryview(mapped) as data,
        ):
            return digest_of(data)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", hint="--weights FILE") from error


def settle(job: Job, pipeline: Pipeline, settings: ServiceSettings, into: Path) -> Version:
    """Bring the version's tensors into the file `into` and say which version it is.

    Raises:
        ConfigError: there is no such version or file.
        WeightsError: it is damaged, unsigned, or holds NaN.
        DependencyError: Kafka or a store does not answer.
    """
    if job.weights:
        return _from_file(Path(job.weights), pipeline, into)
    manifest = _published(pipeline.model_name, job.version, settings)
    tensors = tensors_of(manifest, settings)
    if pipeline.model.finite:
        check_finite(tensors)
    with synced(into) as file:
        file.write(dump(tensors))
    return Version(pipeline.model_name, manifest.version, manifest.digest, str(into))


def tensors_of(manifest: Manifest, settings: ServiceSettings) -> dict[str, torch.Tensor]:
    """A version's tensors, out of the stores.

    Raises:
        WeightsError: chunks are missing or damaged.
    """
    store = open_store(settings)
    try:
        return fetch(manifest, store)
    finally:
        store.close()


def _from_file(path: Path, pipeline: Pipeline, into: Path) -> Version:
    digest = file_digest(path)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigError(f"{path}: cannot be read as safetensors: {error}", hint="--weights FILE") from error
    if pipeline.model.finite:
        check_finite(tensors)
    with synced(into) as file:
        file.write(path.read_bytes())
    return Version(pipeline.model_name, FROM_FILE, digest, str(into))


def _published(model: str, version: int | None, settings: ServiceSettings) -> Manifest:
    """The manifest of a version, the newest one if None."""
    found: CheckpointPublished | None = None
    known = []
    for published in _checkpoints(settings):
        if published.model != model:
            continue
        known.append(published.version)
        newest = found is None or published.version >= found.version
        if published.version == version if version is not None else newest:
            found = published
    if found is None:
        what = f"version {version}" if version is not None else "version"
        there = (
            f"published are {min(known)} to {max(known)}" if known else "train it first, or name a file: --weights FILE"
        )
        raise ConfigError(f"no {what} of {model!r} was published", hint=there)
    check_signature(found.manifest, found.signature, signing_keys(settings))
    manifest = Manifest.decode(found.manifest)
    if manifest.model != model or manifest.version != found.version:
        raise WeightsError(f"the checkpoint event of {model} version {found.version} has another version's manifest")
    return manifest


def _checkpoints(settings: ServiceSettings) -> Iterator[CheckpointPublished]:
    reader = TopicReader(settings, {CHECKPOINTS: 0})
    try:
        while not reader.caught_up:
            for message in reader.poll():
                if parse(message, published := CheckpointPublished()):
                    yield published
            if reader.quiet_s > _QUIET_S:
                raise DependencyError("the checkpoints cannot be read to their end", hint="is the broker up?")
    finally:
        reader.close()
