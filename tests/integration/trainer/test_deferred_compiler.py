"""torch's compiler is loaded when a model compiles something, and not when an optimizer is made."""

import subprocess
import sys

USE = """
import sys, torch
from services.trainer.deferred_compiler import defer_compiler
defer_compiler()
network = torch.nn.Linear(1, 1)
optimizer = torch.optim.Adam(network.parameters())

def step():
    optimizer.zero_grad()
    network(torch.ones(1, 1)).sum().backward()
    optimizer.step()
    return "torch._dynamo.eval_frame" in sys.modules

before = step()
import torch._dynamo.config
print(before, step(), torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
"""


def test_the_compiler_is_loaded_at_its_first_use_and_works() -> None:
    done = subprocess.run([sys.executable, "-c", USE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "False True 2.0\n"
