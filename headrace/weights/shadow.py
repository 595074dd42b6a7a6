"""Shadow networks: a version made ready to serve, off the serving path, without copying its weights.

A network's structure is built once and recycled: loading a version assigns the mapped tensors to it
(`load_state_dict(assign=True)`), and retiring it assigns tensors without storage, which lets the mapped memory go. What
`build` computes beside its state dict is kept.
"""

import threading
import time
from collections.abc import Callable, Mapping

import torch
from torch import nn

from headrace.weights.errors import IncompatibleWeights, NonFiniteWeights
from headrace.weights.manifest import Manifest, schema_hash
from headrace.weights.payload import specs_of

_CHECK_ELEMENTS = 16 << 20

Build = Callable[[], nn.Module]
WarmUp = Callable[[nn.Module], object]


class Shadows:
    """Makes shadow networks of one model and takes them back; ``finite`` refuses tensors that hold NaN or infinity."""

    def __init__(self, build: Build, warm_up: WarmUp | None = None, *, finite: bool = True) -> None:
        self._build = build
        self._finite = finite
        self._warm_up = warm_up
        self._spare: list[nn.Module] = [build()]
        self._lock = threading.Lock()
        self.schema_hash = schema_hash(specs_of(self._spare[0].state_dict()))
        """Of the networks that `build` makes."""

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
            check_finite(tensors)
        checked = time.perf_counter()
        network = self._take()
        try:
            load_into(network, tensors)
            loaded = time.perf_counter()
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
        hollow = {name: torch.empty_like(tensor, device="meta") for name, tensor in network.state_dict().items()}
        network.load_state_dict(hollow, assign=True)
        with self._lock:
            self._spare.append(network)

    def _take(self) -> nn.Module:
        with self._lock:
            if self._spare:
                return self._spare.pop()
        return self._build()


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


def check_finite(tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise `NonFiniteWeights` if a floating point tensor holds NaN or infinity. One pass, which also touches every page."""
    for name, tensor in tensors.items():
        if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
            continue
        flat = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).reshape(-1)
        for block in torch.split(flat, _CHECK_ELEMENTS):
            wide = block.float() if block.element_size() == 1 else block  # 8-bit floats have no reductions
            low, high = torch.aminmax(wide)  # NaN wins both
            if not (torch.isfinite(low) and torch.isfinite(high)):
                raise NonFiniteWeights(
                    f"tensor {name!r} holds NaN or infinity",
                    hint="Did the training diverge? The version before goes on serving.",
                )
