"""Shadow networks: a version made ready to serve, off the serving path, without copying its weights.

A network's structure is built once and recycled: loading a version assigns the mapped tensors to it, and retiring it
assigns tensors without storage, which lets the mapped memory go. What `build` computes beside its state dict is kept.

`load_state_dict(assign=True)` assigns, but costs some 30 µs of Python a tensor, which serving threads of the same
process wait for. So it checks a structure's first version, and later ones are set as the data of the tensors that it
left (`MappedStructure`), except in networks whose modules load their state in a way of their own.

On another device than the processor, tensors are copied instead (`headrace.weights.worker.copied`).
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

import torch
from torch import nn

from headrace.weights.errors import IncompatibleWeights, NonFiniteWeights
from headrace.weights.format.manifest import Manifest, schema_hash
from headrace.weights.format.payload import specs_of
from headrace.weights.worker.staging_throttle import GiveWay, at_once

_CHECK_ELEMENTS = 1 << 20  # about a millisecond's work, without the interpreter
_CHECKED_AT_ONCE = 8
_ASSIGNED_AT_ONCE = 32

Build = Callable[[], nn.Module]
WarmUp = Callable[[nn.Module], object]


class Structure(Protocol):
    """A network without weights of its own, which is given one version's after the other.

    Attributes:
        network: takes features and gives outputs, in eval mode once it was loaded.
    """

    network: nn.Module

    def load(self, tensors: Mapping[str, torch.Tensor], give_way: GiveWay) -> None:
        """Have the network compute with these tensors.

        Raises:
            IncompatibleWeights: names or shapes differ.
        """
        ...

    def unload(self, give_way: GiveWay) -> None:
        """Let the tensors go."""
        ...


class Shadows:
    """Makes shadow networks of one model and takes them back.

    Args:
        build: makes a network.
        warm_up: called with each network that was made.
        give_way: called between pieces of the work.
        finite: refuse tensors that hold NaN or infinity.
        structure: makes a structure of a network; by default one over the very tensors.
    """

    def __init__(
        self,
        build: Build,
        warm_up: WarmUp | None = None,
        give_way: GiveWay = at_once,
        *,
        finite: bool = True,
        structure: "Callable[[nn.Module], Structure] | None" = None,
    ) -> None:
        self._build = build
        self._structure = structure or MappedStructure
        self._finite = finite
        self._warm_up = warm_up
        self._give_way = give_way
        first = build()
        self.schema_hash = schema_hash(specs_of(first.state_dict()))
        """Of the networks that `build` makes."""
        self._spare = [self._structure(first)]
        self._taken: dict[nn.Module, Structure] = {}
        self._lock = threading.Lock()

    def make(self, manifest: Manifest, tensors: Mapping[str, torch.Tensor], seconds: dict[str, float]) -> nn.Module:
        """Return a network over ``tensors``: checked, in eval mode, warmed up.

        Adds the time of each step to ``seconds``.

        Raises:
            IncompatibleWeights: the network cannot take the tensors.
            NonFiniteWeights: a tensor holds NaN or infinity.
            Exception: whatever the warm-up raises.
        """
        manifest.check_schema(self.schema_hash)
        started = time.perf_counter()
        if self._finite:
            check_finite(tensors, self._give_way)
        checked = time.perf_counter()
        structure = self._take()
        network = structure.network
        try:
            structure.load(tensors, self._give_way)
            loaded = time.perf_counter()
            self._give_way()
            if self._warm_up is not None:
                with torch.inference_mode():
                    self._warm_up(network)
        except BaseException:
            self.take_back(network)
            raise
        seconds.update(check=checked - started, load=loaded - checked, warm_up=time.perf_counter() - loaded)
        return network

    def take_back(self, network: nn.Module) -> None:
        """Let a network's tensors go and keep its structure for a later version. Nobody may be using it."""
        with self._lock:
            structure = self._taken.pop(network)
        structure.unload(self._give_way)
        with self._lock:
            self._spare.append(structure)

    def _take(self) -> Structure:
        with self._lock:
            structure = self._spare.pop() if self._spare else None
        structure = structure or self._structure(self._build())
        with self._lock:
            self._taken[structure.network] = structure
        return structure


class MappedStructure:
    """See `Structure`: the tensors are the network's own, without a copy.

    `_held` are the tensors in it that take each version's data, with their shapes.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._plain = loads_plainly(network)
        self._held: dict[str, tuple[torch.Tensor, torch.Size]] = {}

    def load(self, tensors: Mapping[str, torch.Tensor], give_way: GiveWay) -> None:
        """See `Structure.load`."""
        if not self._held:
            load_into(self.network, tensors)
            if self._plain:
                self._held = {
                    name: (held, held.shape) for name, held in self.network.state_dict(keep_vars=True).items()
                }
        elif {name: tensor.shape for name, tensor in tensors.items()} == {
            name: of[1] for name, of in self._held.items()
        }:
            self._assign(tensors, give_way)
        else:
            raise IncompatibleWeights(
                "the network cannot take the weights: their names or shapes are not those of its others"
            )

    def unload(self, give_way: GiveWay) -> None:
        """See `Structure.unload`."""
        if self._held:
            self._assign({name: torch.empty(0, dtype=held.dtype) for name, (held, _) in self._held.items()}, give_way)
            return
        hollow = {name: torch.empty_like(tensor, device="meta") for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(hollow, assign=True)

    def _assign(self, data: Mapping[str, torch.Tensor], give_way: GiveWay) -> None:
        for turn, (name, (held, _)) in enumerate(self._held.items()):
            if turn % _ASSIGNED_AT_ONCE == 0:
                give_way()
            held.data = data[name]


def loads_plainly(network: nn.Module) -> bool:
    """Whether loading a state dict into the network only assigns its tensors."""
    return all(
        type(module)._load_from_state_dict is nn.Module._load_from_state_dict  # noqa: SLF001 - how a module says otherwise
        and type(module).load_state_dict is nn.Module.load_state_dict
        and type(module).state_dict is nn.Module.state_dict
        and not (module._load_state_dict_pre_hooks or module._load_state_dict_post_hooks or module._state_dict_hooks)  # noqa: SLF001
        for module in network.modules()
    )


def load_into(network: nn.Module, tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """Make ``tensors`` the network's own without copying them, and return it in eval mode without gradients.

    Raises:
        IncompatibleWeights: names or shapes differ.
    """
    try:
        network.load_state_dict(dict(tensors), strict=True, assign=True)
    except RuntimeError as error:
        raise IncompatibleWeights(f"the network cannot take the weights: {error}") from error
    return network.eval().requires_grad_(requires_grad=False)


def check_finite(tensors: Mapping[str, torch.Tensor], give_way: GiveWay = at_once) -> None:
    """Raise `NonFiniteWeights` if a floating point tensor holds NaN or infinity.

    One pass, which also touches every page.
    """
    for turn, (name, block) in enumerate(_blocks(tensors)):
        if turn % _CHECKED_AT_ONCE == 0:
            give_way()
        wide = block.float() if block.element_size() == 1 else block  # 8-bit floats have no reductions
        low, high = torch.aminmax(wide)  # NaN wins both
        if not (math.isfinite(low.item()) and math.isfinite(high.item())):
            raise NonFiniteWeights(
                f"tensor {name!r} holds NaN or infinity",
                hint="Did the training diverge? The version before goes on serving.",
            )


def _blocks(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
        for block in torch.split(flat, _CHECK_ELEMENTS):
            yield name, block
