"""config.pbtxt: a model's configuration, in protobuf's text format, against the published ModelConfig."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.json_format import MessageToDict

from headrace.contracts.oip import model_config_pb2 as pb
from headrace.contracts.oip.tensors import DATATYPES
from services.inference.oip.labels import LATEST, is_label
from services.inference.rpc.backends.port import Signature, TensorInfo

FILE = "config.pbtxt"
_LABELS = "version_labels"
_NAMES = {datatype.config: name for name, datatype in DATATYPES.items()}
_PLATFORMS = {"pytorch_libtorch": "pytorch", "onnxruntime_onnx": "onnxruntime", "remote": "remote"}
BACKENDS = ("pytorch", "onnxruntime", "remote")


class ConfigInvalid(Exception):  # noqa: N818 - named for what is wrong
    """A configuration that cannot be served; the message names the file, and line and field where it can."""


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """A model's configuration, checked.

    Attributes:
        message: all of it.
        signature: its tensors.
        backend: one of BACKENDS; "" has the file decide.
        labels: versions by what requests may call them.
    """

    message: pb.ModelConfig
    signature: Signature
    backend: str
    labels: Mapping[str, int]

    def wanted(self, present: Iterable[int]) -> list[int]:
        """Which versions are to be served, of those that are there; a specific one also where it is not there."""
        versions, policy = sorted(present), self.message.version_policy
        match policy.WhichOneof("policy_choice"):
            case "all":
                return versions
            case "specific":
                return sorted(set(policy.specific.versions))
        return versions[-(policy.latest.num_versions or 1) :]

    def as_dict(self) -> dict[str, Any]:
        """A ModelConfig in plain values."""
        plain: dict[str, Any] = MessageToDict(
            self.message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        return _with_integers(plain, pb.ModelConfig.DESCRIPTOR)  # type: ignore[no-any-return]


def _with_integers(plain: Any, kind: Any) -> Any:
    """A message in plain values, where protobuf's JSON has its 64-bit integers as strings."""
    if kind.GetOptions().map_entry or not isinstance(plain, dict):
        return plain
    made = dict(plain)
    for name, value in plain.items():
        field = kind.fields_by_name[name]
        convert: Callable[[Any], Any] | None = (
            int if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else None
        )
        if field.message_type is not None:
            convert = partial(_with_integers, kind=field.message_type)
        if convert is not None:
            made[name] = [convert(one) for one in value] if isinstance(value, list) else convert(value)
    return made


def read_config(folder: Path) -> ModelSettings:
    """The configuration of the model in a folder.

    Raises:
        ConfigInvalid: it is missing, does not parse, or asks for something that is not served.
    """
    path = folder / FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise ConfigInvalid(f"{path}: no such file; a model needs one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{path}: cannot be read: {error}") from error
    message = _parse(path, text)
    if message.name and message.name != folder.name:
        raise _wrong(path, text, "name", f"is '{message.name}', and the folder is '{folder.name}'", message.name)
    message.name = folder.name
    _check(path, text, message)
    signature, backend = _signature(path, text, message), _backend(path, text, message)
    return ModelSettings(message, signature, backend, _labels(path, text, message))


def _parse(path: Path, text: str) -> pb.ModelConfig:
    try:
        return text_format.Parse(text, pb.ModelConfig())
    except text_format.ParseError as error:
        said = re.sub(r"^\d+:\d+ : ", "", str(error))
        raise ConfigInvalid(f"{path}:{error.GetLine()}: {said}") from error


def _line(text: str, field: str, value: str = "") -> int | None:
    after = rf":\s*[\"']{re.escape(value)}[\"']" if value else r"[:{\[]"
    found = re.search(rf"^[^#\n]*?\b{re.escape(field)}\b\s*{after}", text, re.MULTILINE)
    return None if found is None else text.count("\n", 0, found.end()) + 1


def _wrong(path: Path, text: str, field: str, what: str, value: str = "") -> ConfigInvalid:
    line = _line(text, field, value)
    return ConfigInvalid(f"{path}{'' if line is None else f':{line}'}: {field}: {what}")


_Asked = Callable[[pb.ModelConfig], bool]
_NOT_SERVED: dict[str, _Asked] = {
    "sequence_batching": lambda c: c.HasField("sequence_batching"),
    "ensemble_scheduling": lambda c: c.HasField("ensemble_scheduling"),
    "decoupled": lambda c: c.model_transaction_policy.decoupled,
    "model_repository_agents": lambda c: bool(c.model_repository_agents.agents),
    "model_operations": lambda c: bool(c.model_operations.op_library_filename),
    "batch_input": lambda c: bool(c.batch_input),
    "batch_output": lambda c: bool(c.batch_output),
    "reshape": lambda c: any(t.HasField("reshape") for t in (*c.input, *c.output)),
    "is_shape_tensor": lambda c: any(t.is_shape_tensor for t in c.input) or any(t.is_shape_tensor for t in c.output),
    "allow_ragged_batch": lambda c: any(t.allow_ragged_batch for t in c.input),
    "kind": lambda c: any(group.kind == pb.ModelInstanceGroup.KIND_GPU for group in c.instance_group),
    "priority_queue_policy": lambda c: bool(c.dynamic_batching.priority_queue_policy),
    "timeout_action": lambda c: bool(c.dynamic_batching.default_queue_policy.timeout_action),
}
"""What would change the answers, or who gets one; hints on speed are read over."""


def _check(path: Path, text: str, message: pb.ModelConfig) -> None:
    for field, asked in _NOT_SERVED.items():
        if asked(message):
            raise _wrong(path, text, field, "is not served here")
    if message.max_batch_size < 0:
        raise _wrong(path, text, "max_batch_size", "must be 0 or more")
    if message.HasField("dynamic_batching") and not message.max_batch_size:
        raise _wrong(path, text, "dynamic_batching", "needs a max_batch_size of 1 or more")
    batching = message.dynamic_batching
    if batching.default_priority_level > batching.priority_levels:
        raise _wrong(path, text, "default_priority_level", "is beyond priority_levels")
    if batching.priority_levels and not batching.default_priority_level:
        raise _wrong(path, text, "priority_levels", "needs a default_priority_level")
    if any(version < 1 for version in message.version_policy.specific.versions):
        raise _wrong(path, text, "versions", "are integers of 1 or more")
    if "/" in message.default_model_filename:
        raise _wrong(path, text, "default_model_filename", "is a name inside the version's folder")


def _labels(path: Path, text: str, message: pb.ModelConfig) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in message.parameters[_LABELS].string_value.split(",") if _LABELS in message.parameters else ():
        label, _, version = (part.strip() for part in one.partition("="))
        if not is_label(label) or label == LATEST or not version.isdecimal() or int(version) < 1:
            raise _wrong(
                path, text, "parameters", f"{_LABELS} is LABEL=VERSION, by commas; got '{one.strip()}'", _LABELS
            )
        found[label] = int(version)
    return found


def _signature(path: Path, text: str, message: pb.ModelConfig) -> Signature:
    sides = []
    for field, found in (("input", message.input), ("output", message.output)):
        if not found:
            raise ConfigInvalid(f"{path}: {field}: there is none; a model has at least one")
        names = [tensor.name for tensor in found]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise _wrong(path, text, field, f"there are two of the name '{twice}'")
        sides.append(tuple(_tensor(path, text, field, tensor) for tensor in found))
    parameters = {key: value.string_value for key, value in message.parameters.items()}
    return Signature(message.name, sides[0], sides[1], message.max_batch_size > 0, parameters)


def _tensor(path: Path, text: str, field: str, tensor: Any) -> TensorInfo:
    if not tensor.name:
        raise _wrong(path, text, field, "one has no name")
    datatype = _NAMES.get(pb.DataType.Name(tensor.data_type))
    if datatype is None:
        raise _wrong(path, text, field, f"'{tensor.name}' has no data_type")
    if any(side != -1 and side < 1 for side in tensor.dims):
        raise _wrong(path, text, field, f"'{tensor.name}': dims are -1 or 1 and more, got {list(tensor.dims)}")
    return TensorInfo(tensor.name, datatype, tuple(tensor.dims), getattr(tensor, "optional", False))


def _backend(path: Path, text: str, message: pb.ModelConfig) -> str:
    field = "backend" if message.backend else "platform"
    named = message.backend or message.platform
    found = _PLATFORMS.get(named, named)
    if found and found not in BACKENDS:
        raise _wrong(path, text, field, f"'{named}' is not served; {', '.join(BACKENDS)} are")
    return found
