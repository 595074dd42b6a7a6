"""The network that every contestant serves, and the file of its weights. Needs nothing but torch and safetensors."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

FEATURES = [f"x{n:02}" for n in range(1, 13)]


def make_network() -> nn.Module:
    """12-64-64-1, about 5,000 weights."""
    return nn.Sequential(nn.Linear(12, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))


def write_weights(path: Path) -> nn.Module:
    """Write the weights, the same every time, and return the network that has them."""
    torch.manual_seed(0)
    network = make_network().eval()
    save_file(network.state_dict(), path)
    return network


def read_network(path: str | Path) -> nn.Module:
    """The network with the file's weights, ready to predict."""
    network = make_network().eval()
    network.load_state_dict(load_file(path))
    return network
