"""gRPC messages to requests, and answers to messages."""

from typing import Any

from headrace.contracts.oip import service_pb2 as pb
from services.inference.oip.messages import InferAnswer, InferRequest, InputTensor, InvalidRequest
from services.inference.oip.shared_memory import OFF, REGION, Place, Regions

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


def parse_infer(request: pb.ModelInferRequest, regions: Regions = OFF) -> InferRequest:
    """A request to predict from its message; inputs in shared memory are read.

    Raises:
        InvalidRequest: raw and typed contents are mixed, or there are too few or too many of them, or a tensor is not
            inside its region of shared memory.
        Unsupported: shared memory is switched off.
    """
    raw, name = request.raw_input_contents, request.model_name
    sent = sum(REGION not in tensor.parameters for tensor in request.inputs) if raw else 0
    if len(raw) not in (0, sent):
        raise InvalidRequest(f"expected {sent} raw input contents for model '{name}', got {len(raw)}")
    contents = iter(raw)
    inputs = []
    for tensor in request.inputs:
        if tensor.parameters and (place := _place(f"input '{tensor.name}'", tensor, regions)) is not None:
            inputs.append(_shared_input(tensor, place, name))
        elif raw:
            inputs.append(_raw_input(tensor, next(contents), name))
        else:
            inputs.append(_typed_input(tensor, name))
    wanted = [output.name for output in request.outputs]
    places = {output.name: place for output in request.outputs if (place := _output_place(output, regions)) is not None}
    parameters = parameter_values(request.parameters) if request.parameters else {}
    return InferRequest(name, request.model_version, inputs, wanted, request.id, parameters, places=places)


def _shared_input(tensor: pb.ModelInferRequest.InferInputTensor, place: Place, model: str) -> InputTensor:
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"contents field must not be specified when using shared memory for '{tensor.name}' for model '{model}'"
        )
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), raw=place.read(f"input '{tensor.name}'"))


def _place(what: str, tensor: Any, regions: Regions) -> Place | None:
    return regions.place(what, parameter_values(tensor.parameters))


def _raw_input(tensor: pb.ModelInferRequest.InferInputTensor, data: bytes, model: str) -> InputTensor:
    if tensor.HasField("contents"):
        raise InvalidRequest(
            f"contents field must not be specified when using raw_input_contents for '{tensor.name}' "
            f"for model '{model}'"
        )
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), raw=data)


def _typed_input(tensor: pb.ModelInferRequest.InferInputTensor, model: str) -> InputTensor:
    field = _CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidRequest(
            f"input '{tensor.name}' for model '{model}': datatype '{tensor.datatype}' needs raw contents"
        )
    set_fields = {descriptor.name for descriptor, _ in tensor.contents.ListFields()}
    if set_fields - {field}:
        raise InvalidRequest(f"input '{tensor.name}' for model '{model}': {tensor.datatype} goes in {field} alone")
    return InputTensor(tensor.name, tensor.datatype, tuple(tensor.shape), values=list(getattr(tensor.contents, field)))


def _output_place(output: pb.ModelInferRequest.InferRequestedOutputTensor, regions: Regions) -> Place | None:
    if not output.parameters:
        return None
    if "classification" in output.parameters:
        raise InvalidRequest(f"output '{output.name}': the classification extension is not supported")
    return _place(f"output '{output.name}'", output, regions)


def render_answer(answer: InferAnswer) -> pb.ModelInferResponse:
    """The answer's message, its data in raw_output_contents."""
    response = pb.ModelInferResponse(model_name=answer.model, model_version=str(answer.version), id=answer.id)
    response.parameters["checkpoint"].string_param = answer.checkpoint
    for name, number in (answer.parameters or {}).items():
        response.parameters[name].int64_param = number
    for tensor in answer.outputs:
        output = response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if tensor.placed is None:
            response.raw_output_contents.append(tensor.raw())
            continue
        response.raw_output_contents.append(b"")  # clients find an output's bytes by its place
        for name, value in tensor.placed.items():
            setattr(output.parameters[name], "string_param" if isinstance(value, str) else "int64_param", value)
    return response


def parameter_values(parameters: Any) -> dict[str, Any]:
    """The plain values of a map of oneofs."""
    return {
        name: getattr(value, value.WhichOneof("parameter_choice") or "string_param")
        for name, value in parameters.items()
    }
