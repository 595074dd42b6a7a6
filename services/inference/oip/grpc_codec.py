"""gRPC messages to requests, and answers to messages."""

from typing import Any

from headrace.contracts.oip import service_pb2 as pb
from services.inference.oip.messages import InferAnswer, InferRequest, InputTensor, InvalidRequest

_CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def parse_infer(request: pb.ModelInferRequest) -> InferRequest:
    """A request to predict from its message.

    Raises:
        InvalidRequest: raw and typed contents are mixed, or there are too few or too many of them.
    """
    raw, name = request.raw_input_contents, request.model_name
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(f"expected {len(request.inputs)} raw input contents for model '{name}', got {len(raw)}")
    if raw:
        inputs = [_raw_input(tensor, data, name) for tensor, data in zip(request.inputs, raw, strict=True)]
    else:
        inputs = [_typed_input(tensor, name) for tensor in request.inputs]
    wanted = [output.name for output in request.outputs]
    for output in request.outputs:
        if output.parameters:
            _check_output(output)
    parameters = parameter_values(request.parameters) if request.parameters else {}
    return InferRequest(name, request.model_version, inputs, wanted, request.id, parameters)


def _raw_input(tensor: pb.ModelInferRequest.InferInputTensor, data: bytes, model: str) -> InputTensor:
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"contents field must not be specified when using raw_input_contents for '{tensor.name}' for model '{model}'"
        )
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), raw=data)


def _typed_input(tensor: pb.ModelInferRequest.InferInputTensor, model: str) -> InputTensor:
    if "shared_memory_region" in tensor.parameters:
        raise InvalidRequest("shared memory is not supported: send the data in the request")
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidRequest(
            f"input '{tensor.name}' for model '{model}': datatype '{tensor.datatype}' needs raw contents"
        )
    set_fields = {descriptor.name for descriptor, _ in tensor.contents.ListFields()}
    if set_fields - {field}:
        raise InvalidRequest(f"input '{tensor.name}' for model '{model}': {tensor.datatype} goes in {field} alone")
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), values=list(getattr(tensor.contents, field)))


def _check_output(output: pb.ModelInferRequest.InferRequestedOutputTensor) -> None:
    for name, what in (("classification", "the classification extension"), ("shared_memory_region", "shared memory")):
        if name in output.parameters:
            raise InvalidRequest(f"output '{output.name}': {what} is not supported")


def render_answer(answer: InferAnswer) -> pb.ModelInferResponse:
    """The answer's message, its data in raw_output_contents."""
    response = pb.ModelInferResponse(model_name=answer.model, model_version=str(answer.version), id=answer.id)
    response.parameters["checkpoint"].string_param = answer.checkpoint
    for tensor in answer.outputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        response.raw_output_contents.append(tensor.raw())
    return response


def parameter_values(parameters: Any) -> dict[str, Any]:
    """The plain values of a map of oneofs."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }
