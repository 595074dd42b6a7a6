"""Embeddings of open vocabularies: codes that are not known beforehand, hashed into a fixed number of rows.

Feature hashing: Weinberger, Dasgupta, Langford, Smola and Attenberg, "Feature Hashing for Large Scale Multitask
Learning", ICML 2009.
"""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
import torch
from torch.optim import Adam, Optimizer, SparseAdam

EXACT = 2**24
"""From there on float32, in which features travel, does not tell neighbouring integers apart."""


def hashed(values: Iterable[object], buckets: int, field: str = "") -> np.ndarray:
    """The row of each value, int64 [N] in [0, buckets): the same in every process and on every machine.

    Values are compared by their text. `field` keeps equal values of different fields in different rows where they share
    an embedding.

    Raises:
        ValueError: `buckets` is not from 1 to 2^24.
    """
    if not 1 <= buckets <= EXACT:
        raise ValueError(f"buckets: {buckets}, expected 1 to {EXACT}")
    salt = f"{field}\0" if field else ""
    return np.fromiter((_digest(f"{salt}{value}") % buckets for value in values), np.int64)


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


class HashingEmbedding(torch.nn.Module):
    """Rows of an embedding for what `hashed` returns.

    It trains sparsely: a step changes the rows of its batch and no others, so that a version's delta is those rows,
    however many there are. Use `SparseDenseAdam`, which is what `Model.optimizer` returns for such a network; an
    average of the weights (`training.average`) changes every row at every step.

    Args:
        buckets: rows.
        width: numbers in a row.
        std: of the first weights.
    """

    def __init__(self, buckets: int, width: int, std: float = 0.05) -> None:
        super().__init__()
        if not 1 <= buckets <= EXACT:
            raise ValueError(f"buckets: {buckets}, expected 1 to {EXACT}")
        self.rows = torch.nn.Embedding(buckets, width, sparse=True)
        torch.nn.init.normal_(self.rows.weight, std=std)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes [...], as integers or as the floats that features are, to [..., width]."""
        rows: torch.Tensor = self.rows(codes.long())
        return rows


def sparse_parameters(network: torch.nn.Module) -> list[torch.Tensor]:
    """The weights of a network whose gradients are sparse."""
    kinds = torch.nn.Embedding | torch.nn.EmbeddingBag
    return [module.weight for module in network.modules() if isinstance(module, kinds) and module.sparse]


class SparseDenseAdam(Optimizer):
    """Adam for a network of which some gradients are sparse: SparseAdam's for those, Adam's for the others.

    Args:
        network: whose parameters are learned.
        learning_rate: of both.

    Raises:
        ValueError: the network has no parameter.
    """

    def __init__(self, network: torch.nn.Module, learning_rate: float) -> None:
        sparse = sparse_parameters(network)
        those = {id(parameter) for parameter in sparse}
        dense = [parameter for parameter in network.parameters() if id(parameter) not in those]
        super().__init__([{"params": group} for group in (dense, sparse) if group], {"lr": learning_rate})
        self._parts: dict[str, Optimizer] = {}
        if dense:
            self._parts["dense"] = Adam(dense, lr=learning_rate)
        if sparse:
            self._parts["sparse"] = SparseAdam(sparse, lr=learning_rate)
        self._share()

    def _share(self) -> None:
        """The groups are those of the parts themselves, so that a schedule that changes these changes them."""
        self.param_groups = [group for part in self._parts.values() for group in part.param_groups]

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """A step of both."""
        if closure is not None:
            raise ValueError("a closure is not supported")
        for part in self._parts.values():
            part.step()

    def state_dict(self) -> dict[str, object]:
        """The state of both, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, state_dict: dict[str, dict[str, object]]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: it is of a network with other parameters.
        """
        if state_dict.keys() != self._parts.keys():
            raise ValueError(f"a state of {sorted(state_dict)}, expected {sorted(self._parts)}")
        for name, part in self._parts.items():
            part.load_state_dict(state_dict[name])
        self._share()
