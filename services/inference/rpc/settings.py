"""Settings of the role `rpc`."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import CliPositionalArg, NoDecode

from headrace.runtime.errors import ConfigError
from headrace.weights.worker.version_policy import VersionPolicy
from services.inference.oip.labels import RESERVED, is_label
from services.inference.settings import InferenceSettings

SWITCH_S = 0.0005
"""For how long a thread that computes keeps another from running Python: the event loop beside an execution."""


_LIMITS = (
    "max_batch_size",
    "batch_max_events",
    "batch_max_delay_us",
    "queue_max_events",
    "predict_threads",
    "loop_max_us",
    "execution_timeout_s",
    "response_cache_bytes",
    "version_policy",
)
"""What a model may have of its own."""


class RpcSettings(InferenceSettings):
    """Settings of the role `rpc`."""

    rest_port: int = Field(0, ge=0, le=65535, description="port of REST, 8000 by convention; 0 takes a free one")
    grpc_port: int = Field(0, ge=0, le=65535, description="port of gRPC, 8001 by convention; 0 takes a free one")
    workers: int = Field(
        1,
        ge=0,
        description="processes that share both ports and the weights' memory; 0 for one a usable core. "
        "headrace up and demo start 1",
    )
    max_batch_size: int = Field(4096, ge=1, description="events in one request at most")
    batch_max_events: int = Field(
        256, ge=1, description="events of several requests that are executed together at most"
    )
    batch_max_delay_us: int = Field(
        0, ge=0, description="microseconds for which a batch that is not full waits for more requests; 0 for none"
    )
    queue_max_events: int = Field(
        262_144, ge=1, description="events that may wait to be executed; requests beyond are refused"
    )
    priority_levels: int = Field(3, ge=1, le=100, description="priorities that a request may have; 1 is first")
    default_priority: int = Field(2, ge=1, le=100, description="priority of requests that name none")
    loop_max_us: int | None = Field(
        None,
        ge=0,
        description="microseconds that an execution may keep the event loop; longer ones run in a thread. By default "
        "1000 where one model is served, and 0 where several are, so that none can keep the others waiting",
    )
    predict_threads: int = Field(1, ge=1, description="executions of a model at a time where they run in threads")
    execution_timeout_s: float = Field(
        30.0, ge=0, description="seconds after which an execution in a thread is given up; 0 is never"
    )
    model_limits: dict[str, str] = Field(
        default_factory=dict,
        description="a limit of one model: MODEL.LIMIT=VALUE, e.g. heat.wide.predict_threads=2; repeat it for more. "
        f"Limits are {', '.join(_LIMITS)}",
    )
    realtime: bool = Field(
        default=False,
        description="run before all normal processes of the machine (SCHED_RR); needs CAP_SYS_NICE or RLIMIT_RTPRIO",
    )
    route_canaries: bool = Field(
        default=True, description="let a pipeline's canaries answer requests of their keys, as on the stream"
    )
    copy_to_shadows: bool = Field(
        default=True, description="let a pipeline's shadows predict a copy of each request; what they answer is dropped"
    )
    shared_memory_regions: int = Field(
        64, ge=0, description="regions of system shared memory that clients may register; 0 switches shared memory off"
    )
    access_log_sample: float | None = Field(
        None, ge=0, le=1, description="share of requests to log, a line each, and those that fail; 0 for these alone"
    )
    access_log_errors_per_s: float = Field(
        10.0, ge=0, description="requests that fail beside the share, logged in a second at most"
    )
    response_cache_bytes: int = Field(
        0,
        ge=0,
        description="bytes of answers kept for requests with the same inputs and version; 0 keeps none. With several "
        "workers, one memory for all of them and their models",
    )
    response_cache_file: Path | None = Field(
        None, description="the memory in which workers keep answers together; the role's main process sets it"
    )
    version_policy: str = Field(
        "latest:2",
        description="versions that requests may name beside the live one: latest:N of those that served last, "
        "all (32), or specific:V,V; each is a slot of shared memory",
    )
    version_labels: dict[str, int] = Field(
        default_factory=dict,
        description="what requests may call a version: MODEL.LABEL=VERSION, e.g. trips.golden=7; repeat it for more",
    )
    weights: Annotated[list[str], NoDecode] = Field(
        [],
        description="a safetensors file of a network's state, to serve as it is instead of following the fleet: FILE "
        "for the first pipeline's own model, MODEL=FILE for another; repeat it for more",
    )
    model_repository: Path | None = Field(
        None, description="a folder of models in Triton's layout (config.pbtxt), to serve beside the pipelines'"
    )
    model_repository_poll_s: float = Field(
        0.0,
        ge=0,
        description="seconds between looks at the repository for models that are new, changed or gone; 0 is never",
    )
    pipelines: CliPositionalArg[list[Path]] = Field([], description="folders of pipelines to serve beside --pipeline")

    @field_validator("weights", mode="before")
    @classmethod
    def _files(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value

    @field_validator("version_policy")
    @classmethod
    def _policy(cls, value: str) -> str:
        VersionPolicy.parse(value)
        return value

    @property
    def folders(self) -> list[Path]:
        """Every pipeline's folder.

        Raises:
            ConfigError: there is none.
        """
        found = [*([] if self.pipeline is None else [self.pipeline]), *self.pipelines]
        if not found:
            raise ConfigError("rpc: no pipeline", hint="headrace run rpc FOLDER [FOLDER ...]")
        return found

    @property
    def most_cached(self) -> int:
        """Bytes of answers that the model with the largest response cache may keep.

        Raises:
            ConfigError: a limit is no number.
        """
        models = {key.rpartition(".")[0] for key in self.model_limits}
        limits = (self.limits_of(model, alone=False).response_cache_bytes for model in models)
        return max(self.response_cache_bytes, *limits, 0)

    def limits_of(self, model: str, *, alone: bool) -> "RpcSettings":
        """The settings as one model has them; `alone` says whether it is the only one.

        Raises:
            ConfigError: a limit is not known, or its value does not fit.
        """
        found = self.model_copy()
        if found.loop_max_us is None:
            found.loop_max_us = 1000 if alone else 0
        for key, value in self.model_limits.items():
            name, _, limit = key.rpartition(".")
            if limit not in _LIMITS or not name:
                raise ConfigError(f"rpc: --model-limits {key}: no such limit", hint=f"MODEL.LIMIT, of {_LIMITS}")
            if name == model:
                try:
                    RpcSettings.__pydantic_validator__.validate_assignment(found, limit, value)
                except ValidationError as error:
                    raise ConfigError(f"rpc: --model-limits {key}={value}: {error.errors()[0]['msg']}") from None
        return found

    def labels_of(self, models: list[str]) -> dict[str, dict[str, int]]:
        """Each model's labels.

        Raises:
            ConfigError: there is no such model, or a label is a number or one that has a meaning already.
        """
        found: dict[str, dict[str, int]] = {}
        for key, version in self.version_labels.items():
            model, _, label = key.rpartition(".")
            if model not in models:
                raise ConfigError(
                    f"rpc: --version-labels {key}: no model {model!r}", hint=f"models: {', '.join(models)}"
                )
            if not is_label(label) or label in RESERVED:
                raise ConfigError(
                    f"rpc: --version-labels {key}: {label!r} cannot be a label", hint="MODEL.LABEL=VERSION"
                )
            found.setdefault(model, {})[label] = version
        return found

    def weights_of(self, models: list[str]) -> dict[str, Path]:
        """The files of weights by the name of their model, of which the first is that of a FILE without a name.

        Raises:
            ConfigError: there is no such model.
        """
        found: dict[str, Path] = {}
        for given in self.weights:
            name, named, file = given.partition("=")
            if named and name in models:
                found[name] = Path(file)
            elif named and "/" not in name:
                raise ConfigError(f"rpc: --weights {given}: no model {name!r}", hint=f"models: {', '.join(models)}")
            else:
                found[models[0]] = Path(given)
        return found
