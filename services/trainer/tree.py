"""Nested Python values (an optimizer's state, generators' states) as named tensors and plain JSON. Nothing is pickled.

Tensors are moved out under their path and leave {"$tensor": path}; tuples become {"$tuple": [...]}, dicts whose keys
are not all strings {"$items": [[key, value], ...]}. What is none of these, nor a number, text, bool, None, list or
dict, is refused.
"""

from typing import Any

import torch

from headrace.runtime.errors import WeightsError


def flatten(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:
    """The value as JSON can hold it; its tensors are added to `tensors` by their path.

    Raises:
        WeightsError: it holds something that a checkpoint cannot.
    """
    if isinstance(value, torch.Tensor):
        tensors[path] = value
        return {"$tensor": path}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"$tuple": [flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: flatten(v, f"{path}/{key}", tensors) for key, v in value.items()}
        return {"$items": [[flatten(k, path, {}), flatten(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    raise WeightsError(
        f"{path} is a {type(value).__name__}, which a checkpoint cannot hold",
        hint="an optimizer's state may hold tensors, numbers, text, lists, tuples and dicts",
    )


def unflatten(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """What `flatten` was given."""
    if isinstance(value, list):
        return [unflatten(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(unflatten(v, tensors) for v in value["$tuple"])
    if "$items" in value:
        return {unflatten(k, tensors): unflatten(v, tensors) for k, v in value["$items"]}
    return {key: unflatten(v, tensors) for key, v in value.items()}


def copied(value: Any) -> Any:
    """The same with every tensor copied to memory of its own, on the CPU: it stays as it is while training goes on."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    if isinstance(value, dict):
        return {key: copied(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(copied(v) for v in value)
    return value
