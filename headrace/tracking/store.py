"""An MLflow store: SQLite and a folder beside it, or a server."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.runtime.errors import ConfigError, DependencyError

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCAL = "local"
"""Stands for SQLite and files in a folder of ours."""


class TrackingError(DependencyError):
    """The store does not answer, or refuses."""


def address(wanted: str, folder: Path) -> str:
    """The URI that MLflow takes: `local` is a database in `folder`.

    Raises:
        ConfigError: it is neither `local`, nor a database, nor a server.
    """
    if wanted == LOCAL:
        folder.mkdir(parents=True, exist_ok=True)
        return f"sqlite:///{folder.resolve() / 'mlflow.db'}"
    if not wanted.startswith(("http://", "https://", "sqlite://", "postgresql", "mysql")):
        raise ConfigError(
            f"tracking {wanted!r}: expected local, the URL of an MLflow server, or sqlite:///FILE",
            hint="local keeps runs in a database beside the results",
        )
    return wanted


def client(uri: str) -> "MlflowClient":
    """A client, which connects when it is first used.

    Raises:
        ConfigError: MLflow is not installed.
    """
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise ConfigError("MLflow is not installed", hint="pip install 'headrace[tracking]'") from None
    return MlflowClient(tracking_uri=uri)


@contextmanager
def refusals(doing: str) -> Iterator[None]:
    """What MLflow, its database and its HTTP client raise, as one error.

    Raises:
        TrackingError: it failed.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        raise TrackingError(f"{doing}: {str(error).splitlines()[0]:.300}") from error


def experiment(of: "MlflowClient", name: str, uri: str) -> str:
    """The id of an experiment, made where there is none. SQLite's artifacts stand in a folder beside the database."""
    found = of.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    artifacts = None
    if uri.startswith("sqlite:///"):
        artifacts = (Path(uri.removeprefix("sqlite:///")).parent / "artifacts" / name).resolve().as_uri()
    return str(of.create_experiment(name, artifact_location=artifacts))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Objects within objects as names with dots."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
