"""Devices: which one a setting means, and what the processor does as one."""

import pytest
import torch

from headrace.runtime.devices import choosing
from headrace.runtime.devices.choosing import open_device
from headrace.runtime.devices.host import HOST, Host
from headrace.runtime.errors import ConfigError
from headrace.runtime.settings import load
from services.inference.oip.describe import model_config
from services.inference.settings import InferenceSettings

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_the_processor_is_the_default_and_uses_weights_in_place():
    device = open_device(load(InferenceSettings, "rpc", []).device)
    assert device is HOST
    assert device.in_place


@NO_GPU
def test_auto_is_the_processor_where_there_is_no_gpu():
    assert open_device("auto") is HOST


@NO_GPU
@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:3"])
def test_a_gpu_that_is_not_there_is_refused_and_the_setting_named(name):
    with pytest.raises(ConfigError, match=rf"--device {name}: .*(torch sees no GPU|has no CUDA).*--device auto"):
        open_device(name)


@pytest.mark.parametrize("count", [1, 2])
def test_of_the_gpus_that_are_there_one_beyond_the_last_is_refused(monkeypatch, count):
    monkeypatch.setattr(choosing, "_gpus", lambda: count)
    assert open_device("auto").name == open_device("cuda").name == "cuda:0"
    assert open_device(f"cuda:{count - 1}").name == f"cuda:{count - 1}"
    with pytest.raises(ConfigError, match=f"--device cuda:{count}: this process sees {count} GPU"):
        open_device(f"cuda:{count}")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "cuda:0,1", ""])
def test_what_is_no_device_is_refused_with_the_flag(name):
    with pytest.raises(ConfigError, match="--device"):
        load(InferenceSettings, "rpc", [f"--device={name}"])


def test_the_processor_copies_as_a_gpu_does_where_it_is_asked_to():
    device = Host(in_place=False)
    into, of = [torch.zeros(3), torch.zeros(2, 2)], [torch.ones(3), torch.ones(2, 2)]
    with device.aside():
        device.copy(into, of)
        device.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(into, of, strict=True))
    assert not device.to_host(torch.ones(1, requires_grad=True)).requires_grad
    assert device.pin(0, 1) == ""


@pytest.mark.parametrize(
    ("device", "kind"), [("cpu", {"kind": "KIND_CPU"}), ("cuda:2", {"kind": "KIND_GPU", "gpus": [2]})]
)
def test_the_protocol_is_told_where_a_model_computes(device, kind):
    (group,) = model_config("toy", 8, [], [], 1, device=device)["instance_group"]
    assert group == {"name": "toy_0", "count": 1, **kind}
