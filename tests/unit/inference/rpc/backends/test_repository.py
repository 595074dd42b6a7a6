"""A repository's models in a registry: versions, loading, reloading and what is broken."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from services.inference.oip.messages import InferRequest, InputTensor, InvalidRequest, NotFound, OipError, Unavailable
from services.inference.rpc.backends.models import RepositoryModels
from services.inference.rpc.backends.repository import Repository
from services.inference.rpc.models.registry import Registry
from tests.patience import eventually
from tests.unit.inference.rpc.backends.artifacts import CONFIG, Linear, save_linear_exported, save_onnx, save_script

GOOD = CONFIG.format(backend="pytorch")


def add(root: Path, name: str = "linear", version: int = 1, seed: int = 3, config: str = GOOD) -> Linear:
    module = Linear(seed)
    save_script(module, root / name / str(version) / "model.pt")
    (root / name / "config.pbtxt").write_text(config)
    return module


class Server:
    """A registry over a folder, started and stopped."""

    def __init__(self, root: Path, poll_s: float = 0.0) -> None:
        self.registry = Registry([])
        self.models = RepositoryModels(self.registry, Repository(root), 1 << 18, 30.0, poll_s)

    async def __aenter__(self) -> Registry:
        await self.models.add_all()
        for model in self.registry:
            await model.start()
        await eventually(lambda: not any(model.required for model in self.registry))
        self.models.start()
        return self.registry

    async def __aexit__(self, *_: object) -> None:
        await self.models.stop()
        for model in self.registry:
            await model.stop()


def request(rows: int = 2, model: str = "linear", version: str = "", **more: Any) -> InferRequest:
    x, shift = inputs(rows)
    sent = [
        InputTensor("x", "FP32", [rows, 4], raw=x.numpy().tobytes()),
        InputTensor("shift", "FP32", [rows, 2], raw=shift.numpy().tobytes()),
    ]
    return InferRequest(model, version, sent, **more)


def inputs(rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, 4, generator=generator), torch.randn(rows, 2, generator=generator)


def assert_answers(answer: Any, module: Linear, rows: int = 2) -> None:
    y, positive = module(*inputs(rows))
    found = np.frombuffer(answer.outputs[0].raw(), "<f4").reshape(rows, 2)
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert answer.outputs[1].values == positive.flatten().tolist()


def states(registry: Registry) -> list[tuple[str, str, str]]:
    return [(e["name"], e["version"], e["state"]) for e in registry.index()]


async def test_requests_of_many_callers_are_answered_each_with_its_own_rows(tmp_path: Path) -> None:
    module = add(tmp_path)
    async with Server(tmp_path) as registry:
        answers = await asyncio.gather(*(registry.infer(request(1 + i % 5)) for i in range(40)))
        for i, answer in enumerate(answers):
            assert_answers(answer, module, 1 + i % 5)
        (counted,) = registry.model_statistics("linear")
    assert counted["inference_count"] == sum(1 + i % 5 for i in range(40))
    assert counted["execution_count"] < 40  # dynamic_batching has put some of them together


async def test_without_dynamic_batching_each_request_is_executed_alone(tmp_path: Path) -> None:
    add(tmp_path, config=GOOD.replace("dynamic_batching { }", ""))
    async with Server(tmp_path) as registry:
        await asyncio.gather(*(registry.infer(request(2)) for _ in range(10)))
        assert registry.model_statistics("linear")[0]["execution_count"] == 10


async def test_each_version_of_the_policy_answers_by_its_number_and_the_highest_by_default(tmp_path: Path) -> None:
    modules = {n: add(tmp_path, version=n, seed=n, config=GOOD + "version_policy { all { } }") for n in (1, 2, 10)}
    async with Server(tmp_path) as registry:
        for version, module in modules.items():
            assert_answers(await registry.infer(request(version=str(version))), module)
        assert (await registry.infer(request())).version == 10
        assert registry.metadata("linear")["versions"] == ["1", "2", "10"]
        assert [one["version"] for one in registry.model_statistics("linear")] == ["1", "2", "10"]
        with pytest.raises(NotFound, match="version 3 is not found"):
            await registry.infer(request(version="3"))
        with pytest.raises(InvalidRequest, match="not an integer"):
            await registry.infer(request(version="newest"))


async def test_labels_of_the_configuration_name_versions(tmp_path: Path) -> None:
    labels = 'parameters { key: "version_labels" value { string_value: "stable=1, canary=2, gone=3" } }'
    config = GOOD + "version_policy { all { } }\n" + labels
    modules = {n: add(tmp_path, version=n, seed=n, config=config) for n in (1, 2)}
    async with Server(tmp_path) as registry:
        for label, version in {"stable": 1, "canary": 2, "latest": 2, "-1": 2}.items():
            answer = await registry.infer(request(version=label))
            assert answer.version == version
            assert_answers(answer, modules[version])
        with pytest.raises(NotFound, match="version gone is not found: served are 1, 2"):
            await registry.infer(request(version="gone"))
        with pytest.raises(InvalidRequest, match="nor one of the labels latest, stable, canary, gone"):
            await registry.infer(request(version="beta"))


async def test_what_is_broken_is_in_the_index_with_its_reason_and_stops_nothing(tmp_path: Path) -> None:
    module = add(tmp_path)
    add(tmp_path, "no_config").layer.requires_grad_(False)
    (tmp_path / "no_config" / "config.pbtxt").unlink()
    add(tmp_path, "bad_file")
    (tmp_path / "bad_file" / "1" / "model.pt").write_bytes(b"damaged")
    add(tmp_path, "bad_field", config=GOOD + "colour: 'red'")
    add(tmp_path, "half", config=GOOD + "version_policy { specific { versions: [ 1, 4 ] } }")
    async with Server(tmp_path) as registry:
        index = {(e["name"], e["version"]): e.get("reason", "") for e in registry.index()}
        assert '"colour"' in index["bad_field", ""]
        assert f"{tmp_path}/bad_field/config.pbtxt:" in index["bad_field", ""]
        assert "model.pt cannot be loaded as TorchScript" in index["bad_file", "1"]
        assert "no such file" in index["no_config", ""]
        assert (index["half", "1"], index["linear", "1"]) == ("", "")
        assert "there is no folder of this version" in index["half", "4"]
        assert registry.ready
        assert_answers(await registry.infer(request()), module)
        assert not registry.model_ready("bad_file")
        with pytest.raises(Unavailable, match=r"model 'bad_file' is not available: .*TorchScript"):
            await registry.infer(request(model="bad_file"))


@pytest.mark.parametrize(
    ("name", "save"), [("model.pt", save_script), ("model.pt2", save_linear_exported), ("model.onnx", save_onnx)]
)
async def test_the_file_says_the_backend_where_the_configuration_does_not(name: str, save, tmp_path: Path) -> None:
    module = Linear()
    save(module, tmp_path / "linear" / "1" / name)
    (tmp_path / "linear" / "config.pbtxt").write_text(CONFIG.format(backend=""))
    async with Server(tmp_path) as registry:
        assert_answers(await registry.infer(request()), module)


async def test_a_load_reads_new_files_and_no_request_fails_meanwhile(tmp_path: Path) -> None:
    modules = {1: add(tmp_path), 2: Linear(8)}
    async with Server(tmp_path) as registry:
        stop, seen = False, []

        async def ask() -> None:
            while not stop:
                answer = await registry.infer(request())
                assert_answers(answer, modules[answer.version])
                seen.append(answer.version)

        asking = [asyncio.create_task(ask()) for _ in range(8)]
        await eventually(lambda: len(seen) > 50)
        save_script(modules[2], tmp_path / "linear" / "2" / "model.pt")
        await registry.load("linear", {})
        after = len(seen)
        await eventually(lambda: len(seen) > after + 50)
        stop = True
        await asyncio.gather(*asking)
        assert set(seen) == {1, 2}
        assert states(registry) == [("linear", "2", "READY")]


async def test_a_load_that_fails_leaves_what_was_served(tmp_path: Path) -> None:
    module = add(tmp_path)
    async with Server(tmp_path) as registry:
        (tmp_path / "linear" / "2").mkdir()
        (tmp_path / "linear" / "2" / "model.pt").write_bytes(b"damaged")
        with pytest.raises(InvalidRequest, match=r"failed to load 'linear', .*TorchScript"):
            await registry.load("linear", {})
        assert_answers(await registry.infer(request()), module)
        assert states(registry) == [("linear", "1", "READY"), ("linear", "", "UNAVAILABLE")]
        (tmp_path / "linear" / "config.pbtxt").write_text("input: 5")
        with pytest.raises(InvalidRequest, match=r"config.pbtxt:1"):
            await registry.load("linear", {})
        assert_answers(await registry.infer(request()), module)


async def test_a_model_is_unloaded_loaded_again_and_found_when_it_is_new(tmp_path: Path) -> None:
    add(tmp_path)
    async with Server(tmp_path) as registry:
        await registry.unload("linear")
        with pytest.raises(NotFound, match="has no available versions"):
            await registry.infer(request())
        assert states(registry) == [("linear", "", "UNAVAILABLE")]
        await registry.load("linear", {})
        await registry.infer(request())
        with pytest.raises(InvalidRequest, match=r"its configuration is its config.pbtxt's alone"):
            await registry.load("linear", {"config": "{}"})
        for missing in ("other", "../linear", ""):
            with pytest.raises(InvalidRequest, match="failed to load"):
                await registry.load(missing, {})
        module = add(tmp_path, "other", seed=5)
        await registry.load("other", {})
        assert_answers(await registry.infer(request(model="other")), module)


async def test_a_folder_that_is_looked_at_has_models_come_change_and_go(tmp_path: Path) -> None:
    add(tmp_path)
    async with Server(tmp_path, poll_s=0.01) as registry:
        module = add(tmp_path, "other", seed=5)
        await eventually(lambda: ("other", "1", "READY") in states(registry))
        assert_answers(await registry.infer(request(model="other")), module)
        save_script(Linear(), tmp_path / "other" / "2" / "model.pt")
        await eventually(lambda: ("other", "2", "READY") in states(registry))
        (tmp_path / "other").rename(tmp_path / ".gone")
        await eventually(lambda: all(name != "other" for name, _, _ in states(registry)))
        await registry.infer(request())


X = InputTensor("x", "FP32", [1, 4], values=[1.0, 2, 3.5, 4])
SHIFT = InputTensor("shift", "FP32", [1, 2], values=[0.0, 0.0])


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ([X], "expected input 'shift'"),
        ([X, X, SHIFT], "input 'x' already exists"),
        ([X, SHIFT, InputTensor("z", "FP32", [1], values=[0.0])], "unexpected inference input 'z'"),
        ([InputTensor("x", "FP64", [1, 4], values=[0.0] * 4), SHIFT], "expected FP32, got FP64"),
        ([InputTensor("x", "FP32", [1, 5], values=[0.0] * 5), SHIFT], r"Expected \[-1, 4\], got \[1, 5\]"),
        ([InputTensor("x", "FP32", [1, 4], values=[0.0] * 3), SHIFT], "3 elements where shape"),
        ([InputTensor("x", "FP32", [1, 4], raw=b"123"), SHIFT], "3 bytes where 4 elements of FP32 take 16"),
        ([InputTensor("x", "FP32", [1, 4], values=[0.0, None, 0.0, 0.0]), SHIFT], "values of type NoneType"),
        ([InputTensor("x", "FP32", [1, 4], values=[True] * 4), SHIFT], "values of type bool"),
        ([InputTensor("x", "FP32", [2, 4], values=[0.0] * 8), SHIFT], "different batch sizes"),
        ([InputTensor("x", "FP32", [0, 4], values=[]), SHIFT], "batch-size must be 1 to 8"),
        ([InputTensor("x", "FP32", [9, 4], values=[0.0] * 36), SHIFT], "batch-size must be 1 to 8"),
        ([InputTensor("x", "FP32", [-1, 4], values=[]), SHIFT], "batch-size must be 1 to 8"),
    ],
)
async def test_a_request_that_does_not_fit_is_refused_with_what_is_wrong(sent, said: str, tmp_path: Path) -> None:
    add(tmp_path)
    async with Server(tmp_path) as registry:
        with pytest.raises(InvalidRequest, match=said):
            await registry.infer(InferRequest("linear", "", sent))
        with pytest.raises(InvalidRequest, match="unexpected inference output 'z'"):
            await registry.infer(request(outputs=["z"]))
        answer = await registry.infer(request(outputs=["positive"], parameters={"timing": True}))
        assert [output.name for output in answer.outputs] == ["positive"]
        assert answer.parameters is not None


class Picky(torch.nn.Module):
    def forward(self, x: torch.Tensor, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if bool((x < -1e6).any()):
            raise ValueError("too cold")
        return x[:, :2] + shift, x[:, :2] > 0


async def test_a_request_that_makes_the_model_raise_fails_alone(tmp_path: Path) -> None:
    add(tmp_path)
    save_script(Picky(), tmp_path / "linear" / "1" / "model.pt")
    cold = InputTensor("x", "FP32", [1, 4], values=[-1e9, 0.0, 0.0, 0.0])
    async with Server(tmp_path) as registry:
        bad = InferRequest("linear", "", [cold, SHIFT])
        found = await asyncio.gather(
            *(registry.infer(bad if i == 7 else request()) for i in range(16)), return_exceptions=True
        )
    assert [i for i, one in enumerate(found) if isinstance(one, OipError)] == [7]
    assert "too cold" in str(found[7])
