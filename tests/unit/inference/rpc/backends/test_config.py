"""config.pbtxt, good and bad."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2 as published

from headrace.contracts.oip import model_config_pb2 as pb
from services.inference.rpc.backends.config import ConfigInvalid, read_config
from services.inference.rpc.backends.port import TensorInfo
from tests.unit.inference.rpc.backends.artifacts import CONFIG

GOOD = CONFIG.format(backend="pytorch")


def written(folder: Path, text: str) -> Path:
    model = folder / "linear"
    model.mkdir(exist_ok=True)
    (model / "config.pbtxt").write_text(text)
    return model


def wrong(folder: Path, text: str) -> str:
    with pytest.raises(ConfigInvalid) as raised:
        read_config(written(folder, text))
    return str(raised.value).replace(str(folder), "R")


def test_a_configuration_says_the_tensors_the_backend_and_the_batch(tmp_path: Path) -> None:
    found = read_config(written(tmp_path, GOOD))
    assert found.signature.inputs == (TensorInfo("x", "FP32", (4,)), TensorInfo("shift", "FP32", (2,)))
    assert found.signature.outputs == (TensorInfo("y", "FP32", (2,)), TensorInfo("positive", "BOOL", (2,)))
    assert (found.backend, found.signature.batched, found.message.max_batch_size) == ("pytorch", True, 8)
    assert found.as_dict()["name"] == "linear"
    assert found.as_dict()["input"][0]["dims"] == [4]


@pytest.mark.parametrize(
    ("platform", "backend"), [("pytorch_libtorch", "pytorch"), ("onnxruntime_onnx", "onnxruntime"), ("", "")]
)
def test_a_platform_stands_for_its_backend(platform: str, backend: str, tmp_path: Path) -> None:
    assert (
        read_config(written(tmp_path, GOOD.replace('backend: "pytorch"', f'platform: "{platform}"'))).backend == backend
    )


def test_a_field_that_is_not_known_is_named_with_file_and_line(tmp_path: Path) -> None:
    said = wrong(tmp_path, GOOD + "max_bath_size: 3\n")
    assert said.startswith(f"R/linear/config.pbtxt:{GOOD.count(chr(10)) + 1}: ")
    assert '"max_bath_size"' in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("max_batch_size: 8", "max_batch_size: many"), "R/linear/config.pbtxt:3: "),
        (("max_batch_size: 8", "max_batch_size: -1"), "R/linear/config.pbtxt:3: max_batch_size: must be 0 or more"),
        (("max_batch_size: 8", ""), "R/linear/config.pbtxt:8: dynamic_batching: needs a max_batch_size of 1 or more"),
        (('"pytorch"', '"python"'), "R/linear/config.pbtxt:2: backend: 'python' is not served; pytorch, onnxruntime, "),
        (("TYPE_BOOL", "TYPE_BOOLEAN"), "R/linear/config.pbtxt:7: "),
        (("data_type: TYPE_BOOL", ""), "R/linear/config.pbtxt:6: output: 'positive' has no data_type"),
        (("dims: [ 4 ]", "dims: [ 0 ]"), "R/linear/config.pbtxt:4: input: 'x': dims are -1 or 1 and more, got [0]"),
        (('name: "shift"', 'name: "x"'), "R/linear/config.pbtxt:4: input: there are two of the name 'x'"),
        (("dynamic_batching { }", "sequence_batching { }"), ":8: sequence_batching: is not served here"),
        (("dynamic_batching { }", "ensemble_scheduling { }"), ":8: ensemble_scheduling: is not served here"),
        (("{ }", "{ priority_levels: 2 default_priority_level: 3 }"), "default_priority_level: is beyond"),
        (("{ }", "{ priority_levels: 2 }"), "priority_levels: needs a default_priority_level"),
        (("{ }", "{ }\nname: 'other'"), "R/linear/config.pbtxt:9: name: is 'other', and the folder is 'linear'"),
        (("{ }", "{ }\ninstance_group { kind: KIND_GPU }"), ":9: kind: is not served here"),
        (("{ }", "{ }\nmodel_transaction_policy { decoupled: true }"), ":9: decoupled: is not served here"),
        (("{ }", "{ }\nversion_policy { specific { versions: 0 } }"), ":9: versions: are integers of 1 or more"),
        (("{ }", "{ }\ndefault_model_filename: '../../x.pt'"), ":9: default_model_filename: is a name inside"),
    ],
)
def test_what_cannot_be_served_is_named_with_its_place(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    assert said in wrong(tmp_path, GOOD.replace(*change))


def test_a_model_without_tensors_or_without_the_file_is_refused(tmp_path: Path) -> None:
    assert wrong(tmp_path, "") == "R/linear/config.pbtxt: input: there is none; a model has at least one"
    (tmp_path / "linear" / "config.pbtxt").unlink()
    with pytest.raises(ConfigInvalid, match="no such file"):
        read_config(tmp_path / "linear")


@pytest.mark.parametrize(
    "labels", ["stable", "stable=", "stable=0", "stable=x", "7=1", "latest=1", "a=1,,b=2", "a b=1"]
)
def test_labels_that_are_none_are_refused_with_their_line(labels: str, tmp_path: Path) -> None:
    said = wrong(tmp_path, GOOD + f'parameters {{ key: "version_labels" value {{ string_value: "{labels}" }} }}\n')
    assert "parameters: version_labels is LABEL=VERSION" in said


@pytest.mark.parametrize(
    ("policy", "wanted"),
    [
        ("", [7]),
        ("version_policy { latest { } }", [7]),
        ("version_policy { latest { num_versions: 2 } }", [3, 7]),
        ("version_policy { latest { num_versions: 9 } }", [1, 3, 7]),
        ("version_policy { all { } }", [1, 3, 7]),
        ("version_policy { specific { versions: [ 3, 1, 3 ] } }", [1, 3]),
        ("version_policy { specific { versions: 5 } }", [5]),
    ],
)
def test_the_version_policy_says_which_versions_are_served(policy: str, wanted: list[int], tmp_path: Path) -> None:
    assert read_config(written(tmp_path, GOOD + policy)).wanted([7, 1, 3]) == wanted


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
        st.sampled_from(GOOD.split()).map(lambda part: GOOD.replace(part, "?", 1)),
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_a_configuration_or_an_error_of_ours(tmp_path: Path, text: str) -> None:
    with contextlib.suppress(ConfigInvalid):
        assert read_config(written(tmp_path, text)).signature.inputs


def test_every_published_field_is_known_by_its_number_and_type() -> None:
    seen: set[str] = set()

    def compare(ours, theirs) -> None:
        if theirs.full_name in seen:
            return
        seen.add(theirs.full_name)
        for name, field in theirs.fields_by_name.items():
            found = ours.fields_by_name[name]
            assert (found.number, found.type, found.is_repeated) == (field.number, field.type, field.is_repeated), name
            if field.message_type is not None:
                compare(found.message_type, field.message_type)
            if field.enum_type is not None:
                kinds = field.enum_type.values_by_name.items()
                assert {n: v.number for n, v in kinds} == {
                    n: v.number for n, v in found.enum_type.values_by_name.items()
                }

    compare(pb.ModelConfig.DESCRIPTOR, published.ModelConfig.DESCRIPTOR)
