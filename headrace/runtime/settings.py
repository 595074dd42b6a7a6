"""Settings of every process: defaults, then environment, then flags; printed at start with secrets masked.

A service derives its own class from `ServiceSettings` and adds fields; each field is at once an environment variable
(`HEADRACE_OPS_PORT`) and a flag (`--ops-port`). A field that may hold a password or a key is marked `Sensitive`: its
value is shown masked, and not at all in an error about it.
"""

import os
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AliasChoices, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from headrace.runtime import secrets
from headrace.runtime.errors import ConfigError

KAFKA_CONFIG = "HEADRACE_KAFKA_CONFIG"
"""The setting `kafka_config` in the environment, where other processes of a machine do not see it."""


class Sensitive:
    """Marks a setting whose value may hold a secret: `url: Annotated[str, Sensitive()]`."""


class ServiceSettings(BaseSettings):
    """The settings that every role has."""

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
    redis_url: Annotated[str, Sensitive()] = Field(
        "",
        validation_alias=AliasChoices("redis_url", "REDIS_URL", "HEADRACE_REDIS_URL"),
        description="redis:// address of the chunk store; empty means shared storage only",
    )
    kafka_config: Annotated[dict[str, str], Sensitive()] = Field(
        default_factory=dict,
        description="further librdkafka properties for every Kafka client, as JSON (security.protocol, ...)",
    )
    pipeline: Path | None = Field(None, description="the pipeline's folder")
    instance: str = Field("", description="this process's name, unique in the fleet; default <role>-<host>-<pid>")
    run_dir: Path | None = Field(None, description="folder of endpoint files and sockets; default a temporary folder")
    storage_dir: Path | None = Field(
        None, description="shared storage for checkpoints and chunks; default <run_dir>/storage"
    )
    storage_url: Annotated[str, Sensitive()] = Field(
        "", description="keep chunks in s3://bucket/prefix, gs://..., file:///... instead of storage_dir"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    auth: Literal["none", "required"] = Field(
        "none", description="required: every request needs an API key (headrace keys) or a token of --oidc-issuer"
    )
    allow_unauthenticated: bool = Field(
        default=False, description="listen on other addresses than this machine's own although --auth is none"
    )
    oidc_issuer: str = Field("", description="URL of an OpenID Connect issuer whose tokens are taken")
    oidc_audience: str = Field("headrace", description="what those tokens must name in aud")
    oidc_scope_claim: str = Field("scope", description="the claim that holds the scopes")
    tls_cert: Path | None = Field(None, description="PEM file of the certificate chain that REST and gRPC answer with")
    tls_key: Path | None = Field(None, description="PEM file of its private key")
    tls_client_ca: Path | None = Field(None, description="PEM file: callers need a certificate that it has signed")
    tls_ca: Path | None = Field(None, description="PEM file: whom this process trusts when it calls other roles")
    api_key: Annotated[SecretStr | None, Sensitive()] = Field(
        None, description="API key with which this process calls other roles"
    )
    ops_host: str = Field("", description="address of /metrics, /healthz and /readyz; default --host")
    ops_port: int = Field(0, ge=0, le=65535, description="port of /metrics, /healthz and /readyz; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = Field("console", description="console for people, json for collectors")
    shutdown_timeout_s: float = Field(20.0, gt=0, description="most seconds for an orderly stop")
    signing_key: Annotated[SecretStr | None, Sensitive()] = Field(
        None, description="HMAC key of manifests; unsigned ones are refused when set"
    )
    also_valid_signing_key: Annotated[SecretStr | None, Sensitive()] = Field(
        None, description="a second key whose manifests are taken too, while keys are rotated"
    )

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What `repr` and everything that prints objects shows."""
        return list(describe(self).items())

    def for_role(self, role: str) -> "ServiceSettings":
        """The settings with what depends on the role and the process filled in: the instance's name and the folders."""
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

_SHOWN = 80
"""So many characters of a wrong value are shown."""


def load(kind: type[S], role: str, argv: Sequence[str] = ()) -> S:
    """The settings from the defaults, the environment and the flags in `argv`, where the later one wins.

    Raises:
        ConfigError: a value does not fit; the message names every such field.
    """
    try:
        settings = kind(_cli_parse_args=list(argv), _cli_prog_name=f"headrace run {role}")
    except ValidationError as error:
        problems = "; ".join(_problem(kind, found) for found in error.errors(include_url=False, include_context=False))
        raise ConfigError(f"{role}: {problems}", hint=f"headrace run {role} --help lists the settings") from None
    except SettingsError as error:
        raise ConfigError(
            f"{role}: {_without_values(error, argv)}", hint=f"headrace run {role} --help lists the settings"
        ) from None
    for name, value in _sensitive(settings):
        secrets.learn(name, value)
    return settings.for_role(role)  # type: ignore[return-value]


def _problem(kind: type[ServiceSettings], found: Mapping[str, Any]) -> str:
    """What is wrong with a field. A value is shown where it is one alone, and of a field that holds no secret."""
    location, value = tuple(map(str, found["loc"])), found.get("input")
    if not location:
        return str(found["msg"])
    flag = "--" + ".".join(location).lower().replace("_", "-")
    is_shown = isinstance(value, str | int | float) and not _is_sensitive(kind, location[0])
    return f"{flag}: {found['msg']}" + (f", got {str(value)[:_SHOWN]!r}" if is_shown else "")


def _is_sensitive(kind: type[ServiceSettings], name: str) -> bool:
    name = name.lower().removeprefix("headrace_")
    field = kind.model_fields.get(name)
    return field is None or any(isinstance(mark, Sensitive) for mark in field.metadata)


def _without_values(error: SettingsError, argv: Sequence[str]) -> str:
    """What the error says, without words that may be the value of a misspelt flag: those that follow one."""
    message, cause = str(error), str(error.__cause__ or "")
    said, unknown, words = message.partition("unrecognized arguments: ")
    if not unknown:
        return message if cause in message else f"{message}: {cause}"
    safe = set(takewhile(lambda word: not word.startswith("-"), argv))
    shown = [word.partition("=")[0] for word in words.split() if word.startswith("-") or word in safe]
    return said + unknown + (" ".join(shown) or "words that belong to no flag")


def _sensitive(settings: ServiceSettings) -> Iterator[tuple[str, str]]:
    """Names and values of everything that may hold a secret."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if not _is_sensitive(type(settings), name):
            continue
        if isinstance(value, SecretStr):
            yield "secret", value.get_secret_value()
        elif isinstance(value, Mapping):
            yield from value.items()
        elif isinstance(value, str):
            yield name, value


def describe(settings: ServiceSettings) -> dict[str, Any]:
    """The effective settings as plain values, secrets and passwords masked."""
    shown = settings.model_dump(mode="json")  # pydantic masks a SecretStr
    for name, value in shown.items():
        if isinstance(value, str):
            shown[name] = secrets.masked(value)
        elif isinstance(value, dict):
            shown[name] = {k: secrets.MASK if secrets.is_secret(k) else v for k, v in value.items()}
    return shown
