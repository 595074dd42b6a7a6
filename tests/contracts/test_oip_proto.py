"""proto/inference says what the protocol's own clients say: the same messages, fields, numbers, types and calls."""

import pytest
import tritonclient.grpc.model_config_pb2 as their_config
import tritonclient.grpc.service_pb2 as theirs
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from headrace.contracts.oip import POOL, model_config_pb2, service_pb2

PAIRS = [(service_pb2, theirs), (model_config_pb2, their_config)]
MESSAGES = [(ours, name) for ours, their in PAIRS for name in their.DESCRIPTOR.message_types_by_name]


def _field(field: FieldDescriptor) -> tuple:
    kind = field.message_type or field.enum_type
    oneof = field.containing_oneof.name if field.containing_oneof else None
    return field.name, field.number, field.type, field.is_repeated, kind.full_name if kind else None, oneof


def _enum(enum: EnumDescriptor) -> dict[str, int]:
    return {value.name: value.number for value in enum.values}


def _key(field: tuple) -> int:
    return field[1]


@pytest.mark.parametrize(("ours", "name"), MESSAGES, ids=[name for _, name in MESSAGES])
def test_a_message_is_the_clients_field_by_field(ours, name) -> None:
    their = next(t for o, t in PAIRS if o is ours)

    assert _described(ours.DESCRIPTOR.message_types_by_name[name]) == _described(
        their.DESCRIPTOR.message_types_by_name[name]
    )


def _described(message: Descriptor) -> dict:
    return {
        "fields": sorted((_field(f) for f in message.fields), key=_key),
        "map": message.GetOptions().map_entry,
        "enums": {e.name: _enum(e) for e in message.enum_types},
        "nested": {m.name: _described(m) for m in message.nested_types},
    }


@pytest.mark.parametrize(("ours", "their"), PAIRS)
def test_there_is_no_message_or_enum_that_the_client_does_not_have(ours, their) -> None:
    assert set(ours.DESCRIPTOR.message_types_by_name) == set(their.DESCRIPTOR.message_types_by_name)
    assert {n: _enum(e) for n, e in ours.DESCRIPTOR.enum_types_by_name.items()} == {
        n: _enum(e) for n, e in their.DESCRIPTOR.enum_types_by_name.items()
    }


def test_the_service_has_the_clients_calls() -> None:
    def calls(module) -> dict[str, tuple]:
        service = module.DESCRIPTOR.services_by_name["GRPCInferenceService"]
        return {
            m.name: (m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
            for m in service.methods
        }

    assert calls(service_pb2) == calls(theirs)


def test_our_messages_live_beside_the_clients_in_one_process() -> None:
    assert POOL.FindFileContainingSymbol("inference.ModelInferRequest") is service_pb2.DESCRIPTOR
    assert service_pb2.ModelInferRequest is not theirs.ModelInferRequest


@given(st.text(max_size=20), st.lists(st.binary(max_size=20), max_size=5), st.lists(st.integers(-1, 2**62), max_size=3))
def test_bytes_written_by_one_are_read_by_the_other(name: str, raw: list[bytes], shape: list[int]) -> None:
    request = theirs.ModelInferRequest(model_name=name, raw_input_contents=raw)
    request.inputs.add(name=name, datatype="FP64", shape=shape)
    request.parameters[name].uint64_param = 2**64 - 1

    read = service_pb2.ModelInferRequest.FromString(request.SerializeToString())

    assert theirs.ModelInferRequest.FromString(read.SerializeToString()) == request
