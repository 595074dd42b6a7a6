"""Sets: what there is, rows, profiles, exports, removal."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path as FilePath
from tempfile import NamedTemporaryFile
from typing import Annotated, Any, Literal

import msgspec
from fastapi import FastAPI, Path, Query, Response
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from headrace.datasets.manifest import Manifest
from headrace.datasets.names import wanted
from headrace.datasets.opening import Access
from headrace.jobs.errors import JobError, TooLargeError
from headrace.jobs.process import environment
from headrace.runtime.errors import ConfigError, ExitCode
from headrace.runtime.rest import errors, json_answer
from services.datasets import metrics
from services.datasets.settings import DatasetsSettings

SETS = "/v1/datasets"
VERSION = f"{SETS}/{{name}}/versions/{{version}}"
MEDIA = {"parquet": "application/vnd.apache.parquet", "csv": "text/csv", "jsonl": "application/x-ndjson"}
Name = Annotated[str, Path(description="of the set", max_length=100)]
Version = Annotated[str, Path(description="a number, or `newest`", max_length=20)]


class ProfileError(JobError):
    """A profile could not be made."""


def add(app: FastAPI, settings: DatasetsSettings, access: Access) -> None:
    """Add the routes."""
    _add_lists(app, access)
    _add_version(app, access)
    _add_profile(app, settings, access)
    _add_export(app, settings, access)


def set_name(name: str, version: str) -> str:
    """`name@version` of a path."""
    return str(wanted(f"{name}@{version}"))


def summary(manifest: Manifest) -> dict[str, Any]:
    """A version in a list."""
    return {
        "name": manifest.name, "version": manifest.version, "rows": manifest.rows, "size": manifest.size,
        "columns": len(manifest.columns), "created_us": manifest.created_us, "source": manifest.source.kind,
        "holds": manifest.holds, "parents": manifest.parents, "metadata": manifest.metadata,
        "time_range": manifest.time_range, "bad_rows": manifest.bad_rows,
    }  # fmt: skip


def _add_lists(app: FastAPI, access: Access) -> None:
    catalogue = access.catalogue

    @app.get(SETS, summary="All sets, each by its newest version", responses=errors(503))
    async def list_sets() -> Response:
        def found() -> list[dict[str, Any]]:
            made = []
            for name in catalogue.names():
                versions = catalogue.versions(name)
                newest = catalogue.manifest_of(name, versions[-1])
                made.append({**summary(newest), "newest": versions[-1], "versions": versions})
            return made

        return json_answer({"datasets": await asyncio.to_thread(found)})

    @app.get(f"{SETS}/{{name}}", summary="One set: its versions, the newest first", responses=errors(404, 503))
    async def one_set(name: Name) -> Response:
        def found() -> list[dict[str, Any]]:
            catalogue.manifest(wanted(name))
            return [summary(catalogue.manifest_of(name, version)) for version in reversed(catalogue.versions(name))]

        return json_answer({"name": name, "versions": await asyncio.to_thread(found)})


def _add_version(app: FastAPI, access: Access) -> None:
    @app.get(VERSION, summary="A version's manifest, with its digest", responses=errors(404, 503))
    async def manifest(name: Name, version: Version) -> Response:
        found = await asyncio.to_thread(access.catalogue.manifest, set_name(name, version))
        return json_answer(found.shown())

    @app.get(f"{VERSION}/rows", summary="Some rows", responses=errors(404, 500, 503))
    async def rows(
        name: Name,
        version: Version,
        offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> Response:
        def found() -> bytes:
            from headrace.datasets.using.opened import OpenSet

            opened = OpenSet.of(access.catalogue, set_name(name, version))
            some = opened.rows(offset, limit)
            body = {"offset": offset, "total": opened.manifest.rows, "dataset": opened.manifest.set, "rows": some}
            return msgspec.json.encode(body)

        return Response(await asyncio.to_thread(found), media_type="application/json")

    @app.delete(VERSION, status_code=204, summary="Remove a version", responses=errors(404, 409, 503))
    async def remove(name: Name, version: Version) -> Response:
        """Refused with 409 where the lineage of a model's version that served, or may serve, needs it."""

        def gone() -> None:
            from headrace.datasets.retention import remove as remove_one

            remove_one(access, access.catalogue.manifest(set_name(name, version)))

        await asyncio.to_thread(gone)
        metrics.REMOVED.inc()
        return Response(status_code=204)


def _add_profile(app: FastAPI, settings: DatasetsSettings, access: Access) -> None:
    one_at_a_time = asyncio.Lock()

    @app.get(f"{VERSION}/profile", summary="Each column's distribution, and drift", responses=errors(404, 500, 503))
    async def profile(
        name: Name, version: Version, against: Annotated[str, Query(description="name@version", max_length=130)] = ""
    ) -> Response:
        """Made by a process of its own, one at a time; without `against` it is kept, and answered from there."""
        found = await asyncio.to_thread(access.catalogue.manifest, set_name(name, version))
        if against:
            reference = await asyncio.to_thread(access.catalogue.manifest, against)
            against = reference.set
        async with one_at_a_time:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "headrace.datasets.profiling", found.set, against,
                stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.PIPE, env=_environment(settings),
            )  # fmt: skip
            try:
                body = await process.stdout.read() if process.stdout is not None else b""
                code = await process.wait()
            finally:
                with suppress(ProcessLookupError):
                    process.kill()
        if code:
            problem = msgspec.json.decode(body or b"{}").get("error", f"exit code {code}")
            if code == ExitCode.CONFIG:
                raise ConfigError(problem)
            raise ProfileError(problem)
        return Response(body, media_type="application/json")


def _environment(settings: DatasetsSettings) -> dict[str, str]:
    return {**os.environ, **environment(settings)}


def _add_export(app: FastAPI, settings: DatasetsSettings, access: Access) -> None:
    @app.get(
        f"{VERSION}/export", summary="All rows as one file", response_class=FileResponse,
        responses=errors(404, 413, 500, 503),
    )  # fmt: skip
    async def export(
        name: Name,
        version: Version,
        format: Literal["parquet", "csv", "jsonl"] = "parquet",  # noqa: A002 - the query's name
    ) -> Response:
        found = await asyncio.to_thread(access.catalogue.manifest, set_name(name, version))
        if found.size > settings.max_export_bytes:
            raise TooLargeError(f"{found.set} has {found.size} bytes; {settings.max_export_bytes} are allowed")

        def written() -> FilePath:
            from headrace.datasets.exporting import export as write
            from headrace.datasets.using.opened import OpenSet

            with NamedTemporaryFile(prefix="headrace-export-", delete=False) as file:
                path = FilePath(file.name)
            write(OpenSet(access.catalogue, found), path, format)
            return path

        path = await asyncio.to_thread(written)
        filename = f"{found.name}-{found.version}.{format}"
        return FileResponse(path, media_type=MEDIA[format], filename=filename, background=BackgroundTask(path.unlink))
