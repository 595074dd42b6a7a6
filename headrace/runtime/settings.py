"""Settings of every process: defaults, then environment, then flags; printed at start with secrets masked.

A service derives its own class from `ServiceSettings` and adds fields; each field is at once an environment variable
(`HEADRACE_OPS_PORT`) and a flag (`--ops-port`).
"""

import os
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from headrace.runtime.errors import ConfigError


class ServiceSettings(BaseSettings):
    """What every role can be told."""

    model_config = SettingsConfigDict(
        env_prefix="HEADRACE_",
        extra="ignore",
        populate_by_name=True,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_exit_on_error=False,
        cli_hide_none_type=True,
        cli_avoid_json=True,
    )

    kafka_bootstrap_servers: str = Field(
        "127.0.0.1:9092",
        validation_alias=AliasChoices(
            "kafka_bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS", "HEADRACE_KAFKA_BOOTSTRAP_SERVERS"
        ),
        description="host:port of one or more Kafka brokers, comma-separated",
    )
    redis_url: str = Field(
        "",
        validation_alias=AliasChoices("redis_url", "REDIS_URL", "HEADRACE_REDIS_URL"),
        description="redis:// address of the chunk store; empty means shared storage only",
    )
    kafka_config: dict[str, str] = Field(
        default_factory=dict,
        description="further librdkafka settings for every client, as JSON (security.protocol, ...)",
    )
    pipeline: Path | None = Field(None, description="the pipeline's folder")
    instance: str = Field("", description="this process's name, unique in the fleet; default <role>-<host>-<pid>")
    run_dir: Path | None = Field(None, description="where endpoint files and sockets go; default a temporary folder")
    storage_dir: Path | None = Field(
        None, description="shared storage for checkpoints and chunks; default <run_dir>/storage"
    )
    storage_url: str = Field(
        "", description="keep chunks in s3://bucket/prefix, gs://..., file:///... instead of storage_dir"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    ops_port: int = Field(0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = Field("console", description="console for people, json for collectors")
    shutdown_timeout_s: float = Field(20.0, gt=0, description="seconds that an orderly stop may take")
    signing_key: SecretStr | None = Field(None, description="HMAC key of manifests; unsigned ones are refused when set")

    def for_role(self, role: str) -> "ServiceSettings":
        """Fill in what depends on the role and the process: the instance's name and the folders."""
        instance = self.instance or f"{role}-{socket.gethostname()}-{os.getpid()}"
        run_dir = self.run_dir or Path(tempfile.gettempdir()) / f"headrace-{os.getuid()}"
        storage = self.storage_dir or run_dir / "storage"
        return self.model_copy(update={"instance": instance, "run_dir": run_dir, "storage_dir": storage})

    @property
    def run_folder(self) -> Path:
        """`run_dir`, once `for_role` has filled it in."""
        if self.run_dir is None:
            raise ConfigError("run_dir is not set", hint="settings come from headrace.runtime.settings.load")
        return self.run_dir

    @property
    def storage_folder(self) -> Path:
        """`storage_dir`, once `for_role` has filled it in."""
        if self.storage_dir is None:
            raise ConfigError("storage_dir is not set", hint="settings come from headrace.runtime.settings.load")
        return self.storage_dir


S = TypeVar("S", bound=ServiceSettings)


def load(kind: type[S], role: str, argv: Sequence[str] = ()) -> S:
    """Settings from defaults, the environment and the flags in `argv`.

    Raises:
        ConfigError: a value does not fit; the message names every such field.
    """
    try:
        settings = kind(_cli_parse_args=list(argv), _cli_prog_name=f"headrace run {role}")
    except ValidationError as error:
        problems = "; ".join(f"{_flag(e['loc'])}: {e['msg']}, got {e.get('input')!r}" for e in error.errors())
        raise ConfigError(f"{role}: {problems}", hint=f"headrace run {role} --help lists the settings") from error
    except SettingsError as error:
        raise ConfigError(f"{role}: {error}", hint=f"headrace run {role} --help lists the settings") from error
    return settings.for_role(role)  # type: ignore[return-value]


def _flag(location: tuple[Any, ...]) -> str:
    return "--" + ".".join(str(part) for part in location).lower().replace("_", "-")


def describe(settings: ServiceSettings) -> dict[str, Any]:
    """The effective settings as plain values, secrets and passwords masked."""
    shown = settings.model_dump(mode="json")
    for name, value in shown.items():
        if isinstance(value, str) and "://" in value:
            shown[name] = _mask_password(value)
    shown["kafka_config"] = {
        k: "***" if "password" in k or "secret" in k else v for k, v in settings.kafka_config.items()
    }
    return shown


def _mask_password(url: str) -> str:
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")))
